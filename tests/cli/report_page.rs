//! The page in a browser: light and dark, on a phone and on a desk. `tests/setup.sh` installs Chromium without a screen; with
//! `chromium` in REDKEEP_TEST_SKIP it is left out.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::place::{Place, noise};

/// What a browser with this scheme makes of the page in a window of this width.
fn seen(place: &Place, scheme: &str, width: u32) -> Value {
    // The page itself runs no script: one around it looks at it.
    let around = format!(
        "<!DOCTYPE html><iframe id=\"page\" src=\"page.html\" width=\"{width}\" height=\"9000\"></iframe><pre id=\"seen\"></pre>\
         <script>onload = () => {{ const of = page.contentDocument, body = page.contentWindow.getComputedStyle(of.body); \
         seen.textContent = JSON.stringify({{ width: of.documentElement.scrollWidth, paper: body.backgroundColor, \
         marks: of.querySelectorAll('rect.kept').length, drawn: [...of.querySelectorAll('svg')].every(one => \
         one.getBoundingClientRect().width > {width} / 4 && one.getBoundingClientRect().height > 30), \
         elsewhere: page.contentWindow.performance.getEntriesByType('resource').length }}) }}</script>"
    );
    fs::write(place.path("around.html"), around).unwrap();
    let mut command = Command::new("chromium-headless-shell");
    command.args(["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]);
    command.arg(format!("--blink-settings=preferredColorScheme={}", if scheme == "dark" { 0 } else { 1 }));
    command.arg(format!("file://{}", place.arg("around.html"))).env("HOME", place.path("home")).stderr(Stdio::null());
    let output =
        command.output().expect("chromium-headless-shell: run tests/setup.sh, or name chromium in REDKEEP_TEST_SKIP");
    let text = String::from_utf8(output.stdout).unwrap();
    let seen = text.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    serde_json::from_str(seen.unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn it_fits_a_phone_and_a_desk_in_the_light_and_in_the_dark() {
    if std::env::var("REDKEEP_TEST_SKIP").is_ok_and(|names| names.split(',').any(|name| name == "chromium")) {
        return;
    }
    let place = Place::with_snapshot();
    fs::write(place.data().join("modules/table.bin"), noise(7, 900_000)).unwrap();
    let long = "a-name-that-is-longer-than-a-phone-is-wide-".repeat(4);
    place.done(&["backup", "data", "--dataset", &long, "--tag", &long, "-q"]);
    place.done(&["report", "page.html"]);
    for (scheme, paper) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")] {
        for width in [390, 1200] {
            let wanted = json!({ "width": width, "paper": paper, "marks": 2, "drawn": true, "elsewhere": 0 });
            assert_eq!(seen(&place, scheme, width), wanted, "{scheme} {width}");
        }
    }
}
