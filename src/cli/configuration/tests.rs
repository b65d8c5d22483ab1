//! What a configuration file may say.

use std::time::Duration;

use super::values::Switch;
use super::*;
use crate::cli::commands::{check, prune};
use crate::operations::check::CheckDepth;
use crate::operations::forget::What;

const DAILY: &str = "\
repo = \"/srv/redkeep\"
password-file = \"password\"
[profile.daily]
dir = \"/var/lib/redis\"
dataset = \"sessions\"
tags = [\"daily\"]
keep-daily = 14
keep-within = \"36h\"
keep-timeline = \"7d\"
prune = { grace = \"48h\", max-unused = \"10%\" }
check = { max-age = \"30d\" }
before = \"true\"
after = [\"one\", \"two\"]
metrics-file = \"out/redkeep.prom\"
health-url = \"https://hc.example/uuid\"
[profile.hourly]
repo = \"s3://bucket/prefix\"
key-file = \"/etc/key\"
prune = true
check = false
";

fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let write = |(name, text): &(&str, &str)| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let paths = files.iter().map(write).collect();
    (dir, paths)
}

fn refusal(text: &str) -> String {
    let (_dir, paths) = written(&[("redkeep.toml", text)]);
    Configuration::of_places(&paths).err().map(|error| error.what).unwrap_or_default()
}

#[test]
fn a_profile_says_what_a_run_does() {
    let (dir, paths) = written(&[("redkeep.toml", DAILY)]);
    let configuration = Configuration::of_file(&paths[0]).ok().unwrap();
    let base = dir.path().canonicalize().unwrap();
    let daily = configuration.profile("daily").ok().unwrap();
    assert!(matches!(daily.keep.what(false), Some(What::Policy { policy, .. }) if policy.daily == Some(14)));
    let grace = Duration::from_secs(48 * 3600);
    assert_eq!(daily.prune.0, Some(prune::Rule { grace: Some(grace), max_unused: Some(0.1), max_rewrite: None }));
    assert_eq!(
        daily.check.0.as_ref().map(check::Rule::depth),
        Some(CheckDepth::MaxAge(Duration::from_secs(30 * 86_400)))
    );
    assert_eq!((daily.before.0.len(), daily.after.0.len(), daily.on_failure.0.len()), (1, 2, 0));
    assert_eq!(daily.metrics_file.as_deref(), Some(base.join("out/redkeep.prom").as_path()));
    let hourly = configuration.profile("hourly").ok().unwrap();
    assert_eq!((&hourly.prune, &hourly.check), (&Switch(Some(prune::Rule::default())), &Switch(None)));
    assert!(hourly.keep.what(false).is_none());
}

#[test]
fn a_profile_comes_before_what_is_said_for_all_and_its_secret_replaces_the_other() {
    let (dir, paths) = written(&[("redkeep.toml", DAILY)]);
    let configuration = Configuration::of_file(&paths[0]).ok().unwrap();
    let password = dir.path().canonicalize().unwrap().join("password");
    for profile in [None, Some("daily")] {
        let access = configuration.access(profile).ok().unwrap();
        assert_eq!(access.repo.as_deref(), Some("/srv/redkeep"));
        assert_eq!((access.password_file, access.key_file), (Some(password.clone()), None));
    }
    let hourly = configuration.access(Some("hourly")).ok().unwrap();
    assert_eq!(hourly.repo.as_deref(), Some("s3://bucket/prefix"), "a URL is no path");
    assert_eq!((hourly.password_file, hourly.key_file), (None, Some("/etc/key".into())));
}

#[test]
fn the_users_file_comes_before_that_of_the_host_profile_by_profile() {
    let own = "repo = \"mine\"\n[profile.daily]\ndir = \"/data\"\n";
    let (dir, paths) = written(&[("redkeep.toml", DAILY), ("config.toml", own)]);
    let missing = dir.path().join("missing.toml");
    let configuration = Configuration::of_places(&[&[missing], &paths[..]].concat()).ok().unwrap();
    let mine = dir.path().canonicalize().unwrap().join("mine").display().to_string();
    let access = configuration.access(None).ok().unwrap();
    assert_eq!((access.repo, access.password_file.is_some()), (Some(mine), true));
    assert_eq!(configuration.profile("daily").ok().unwrap().of.dataset, None, "the other daily is gone");
    assert!(configuration.profile("hourly").is_ok());
    assert_eq!(configuration.profile("weekly").err().unwrap().hint, "there are: daily, hourly");
    assert_eq!(
        usual_places(Some(Path::new("/h/.config"))),
        [Path::new("/etc/redkeep.toml"), Path::new("/h/.config/redkeep/config.toml")]
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    let mut wrong = Vec::new();
    for (text, place, why) in [
        ("repo = \"x\"\npasswordfile = \"y\"\n", "2:1", "unknown field `passwordfile`; is password-file meant?"),
        ("[profile.a]\n keep-dayly = 3\n", "2:2", "unknown field `keep-dayly`; is keep-daily meant?"),
        ("[profile.a]\nKeep_Last = 3\n", "2:1", "is keep-last meant?"),
        ("keep-daily = 3\n", "1:1", "unknown field `keep-daily`; it belongs below a [profile.NAME]"),
        ("[profile.a]\nxyz = 3\n", "2:1", "unknown field `xyz`"),
        ("[profile.a]\n\nprune = { grce = \"1d\" }\n", "3:11", "unknown field `grce`, expected one of `grace`"),
        ("[profile.a]\nprune = \"yes\"\n", "2:9", "true, false or a table"),
        ("[profile.a]\nkeep-daily = 0\n", "2:1", "at least 1"),
        ("[profile.a]\nkeep-within = \"soon\"\n", "2:1", "\"soon\": not a length of time"),
        ("[profile.a]\nmode = \"fast\"\n", "2:1", "unknown variant `fast`"),
        ("[profile.a]\nhealth-url = \"hc.example\"\n", "2:14", "begins with https://"),
        (
            "[profile.a]\n\nredis = \"redis://a:secret@b:c\"\n",
            "3:9",
            "it is none that can be read; write it like redis://",
        ),
        ("[profile.a]\nbefore = 3\n", "2:10", "a shell command"),
        (
            "[profile.a]\ncheck = { max-age = \"3d\", subset = \"1/7\" }\n",
            "1:10",
            "one of max-age, subset and read-data",
        ),
        ("\n[profile.a]\nmetrics-file = \"a.txt\"\n", "2:10", "has to end in .prom"),
        ("[profile.\"a b\"]\n", "1:10", "a name has letters"),
        ("profile = 3\n", "1:11", "expected a map"),
        ("[profile]\na = 3\n", "2:1", "write its keys below [profile.a]"),
        (
            "[profile.a]\nmetrics-file = \"m.prom\"\n[profile.b]\nmetrics-file = \"m.prom\"\n",
            "",
            "a and b have one metrics-file",
        ),
        ("repo =\n", "1:7", "string values must be quoted"),
        ("cache-dir = \"x\"\nrepo = 3\n", "2:1", "invalid type: integer `3`"),
        ("[profile.a]\ndir = \"x\"\n[profile.b]\n\nkeep-daily = \"x\"\n", "5:1", "invalid type: string \"x\""),
        ("[profile.a]\n[profile.a.check]\nage = 3\n", "3:1", "unknown field `age`"),
    ] {
        let what = refusal(text);
        assert!(!what.contains("secret"), "{what}");
        // A value is told where it stands, where the parser still knows that: else its key.
        let place = if place.is_empty() { "redkeep.toml: ".to_string() } else { format!("redkeep.toml:{place}: ") };
        wrong.extend((!what.contains(&place) || !what.contains(why)).then(|| format!("{text}: {what}")));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_mistake_hides_no_other_one() {
    let text = "repos = 1\nlag = \"x\"\n[profile.a]\nkeep-dayly = 3\ndrill = 1\n[profile.b]\ncheck = 4\n";
    let lines: Vec<usize> = faults(text).iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 7]);
}

#[test]
fn a_file_that_others_can_read_is_told_where_it_holds_a_password() {
    let text = "[profile.a]\nredis = \"redis://backup:secret@localhost\"\n";
    let (_dir, paths) = written(&[("with.toml", text), ("without.toml", DAILY)]);
    let warnings = || Configuration::of_places(&paths).ok().unwrap().warnings;
    assert_eq!(warnings(), [""; 0]);
    paths.iter().for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap());
    assert_eq!(warnings().len(), 1);
    assert!(warnings()[0].contains("with.toml holds a password and can be read by every user"), "{:?}", warnings());
    fs::set_permissions(&paths[1], fs::Permissions::from_mode(0o666)).unwrap();
    assert!(warnings()[1].contains("without.toml can be written by every user"), "{:?}", warnings());
}

#[test]
fn a_file_of_another_user_or_in_his_directory_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, paths) = written(&[("redkeep.toml", DAILY)]);
    let warnings = || Configuration::of_places(&paths).ok().unwrap().warnings;
    assert_eq!(warnings(), [""; 0]);
    for (path, words) in
        [(dir.path(), "can be replaced by the user "), (&paths[0], "redkeep.toml can be written by the user ")]
    {
        std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
        let warnings = warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(words) && warnings[0].contains("as you"), "{warnings:?}");
    }
    std::os::unix::fs::chown(&paths[0], Some(0), Some(65_534)).unwrap();
    fs::set_permissions(&paths[0], fs::Permissions::from_mode(0o660)).unwrap();
    assert!(warnings()[0].contains("by its group"), "{:?}", warnings());
}

#[test]
fn a_password_in_a_url_is_seen() {
    assert!(password_in_url("redis = \"redis://:secret@host\"") && password_in_url("redis://a:b@h/0"));
    for line in ["redis://user@host", "redis://host:6379", "# redis://a:b@h", "unix:///run/redis.sock", "a:b@h"] {
        assert!(!password_in_url(line), "{line}");
    }
}
