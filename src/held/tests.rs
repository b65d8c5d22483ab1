//! What a held directory promises.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType};

use super::*;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// LOCAL-17
#[test]
fn it_stays_the_directory_it_was_whoever_takes_its_name() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::create_dir(at("etc")).unwrap();
    let held = Held::open(&at("data")).unwrap();
    fs::rename(at("data"), at("moved")).unwrap();
    symlink(at("etc"), at("data")).unwrap();
    held.create(name("file"), 0o600).unwrap();
    held.make(name("below"), 0o711).unwrap();
    assert_eq!(fs::read_dir(at("etc")).unwrap().count(), 0);
    assert_eq!(fs::metadata(at("moved/below")).unwrap().permissions().mode() & 0o777, 0o711);
    assert!(held.create(name("file"), 0o600).is_err(), "it is there");
}

#[test]
fn no_name_leads_out_of_it_and_no_link_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir_all(at("data/below")).unwrap();
    fs::write(at("secret"), "precious").unwrap();
    symlink(at("secret"), at("data/link")).unwrap();
    symlink(temp.path(), at("data/up")).unwrap();
    let held = Held::open(&at("data")).unwrap();
    for bad in ["..", ".", "", "a/b", "../secret", "/etc"] {
        assert!(held.create(name(bad), 0o600).is_err(), "{bad}");
        assert!(held.directory(name(bad)).is_err() && held.look(name(bad)).is_err(), "{bad}");
        assert!(held.rename(name("link"), &held, name(bad)).is_err(), "{bad}");
        assert!(held.remove(name(bad)).is_err(), "{bad}");
    }
    assert!(held.file(name("link")).is_err() && held.directory(name("up")).is_err());
    assert!(held.create(name("link"), 0o600).is_err() && held.make(name("up"), 0o700).is_err());
    assert!(held.at(Path::new("up/secret")).is_err());
    assert!(held.file(name("below")).is_err(), "a directory is no file");
    for gone in ["link", "up", "below", "never"] {
        held.remove(name(gone)).unwrap();
    }
    assert_eq!(fs::read_to_string(at("secret")).unwrap(), "precious");
    assert_eq!(held.names().unwrap(), Vec::<OsString>::new());
}

#[test]
fn all_below_goes_with_it_and_what_links_lead_to_stays() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir_all(at("data/gone/a/b")).unwrap();
    fs::create_dir(at("kept")).unwrap();
    fs::write(at("kept/file"), "x").unwrap();
    symlink(at("kept"), at("data/gone/a/link")).unwrap();
    fs::set_permissions(at("data/gone/a"), fs::Permissions::from_mode(0o0)).unwrap();
    Held::open(&at("data")).unwrap().remove(name("gone")).unwrap();
    assert!(at("kept/file").exists() && !at("data/gone").exists());
}

#[test]
fn links_of_the_caller_are_followed_and_those_of_others_lead_only_to_what_is_theirs() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().canonicalize().unwrap().join(name);
    fs::create_dir_all(at("real/data")).unwrap();
    symlink("real", at("link")).unwrap();
    let held = Held::open(&at("link/../link/./data")).unwrap();
    assert_eq!(held.path(), at("real/data"));
    symlink("round", at("round")).unwrap();
    assert!(Held::open(&at("round")).is_err() && Held::open(&at("missing")).is_err());
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make links that are another's.
    }
    let held = Held::open(&at("")).unwrap();
    held.give_link(name("link"), (65534, 65534)).unwrap();
    let refused = Held::open(&at("link/data")).unwrap_err();
    assert!(refused.to_string().contains("belongs to another user"), "{refused}");
    Held::open(&at("real/data")).unwrap().give((65534, 65534)).unwrap();
    assert!(Held::open(&at("link/data")).is_ok(), "it leads its owner to what is its own");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_wherever_they_can() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    Held::open(&at("a/b")).unwrap().refuse_others().unwrap();
    for (place, mode) in [("a/b", 0o777), ("a", 0o707)] {
        fs::set_permissions(at(place), fs::Permissions::from_mode(mode)).unwrap();
        assert!(Held::open(&at("a/b")).unwrap().refuse_others().is_err(), "{place}");
        fs::set_permissions(at(place), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_file_is_opened_for_another_user_only_if_that_user_could_open_it() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().canonicalize().unwrap();
    let at = |name: &str| place.join(name);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("all", 0o644), ("group", 0o640), ("own", 0o600)] {
        fs::write(at(name), name).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        symlink(name, at(&format!("{name}.link"))).unwrap();
    }
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/all"), "").unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let group = fs::metadata(at("group")).unwrap().gid();
    let (stranger, member) = (Reader::nobody(), Reader::new(u32::MAX - 1, vec![group]));
    for (name, may) in [
        ("all", [true, true, true]),
        ("all.link", [true, true, true]),
        ("group", [false, true, true]),
        ("group.link", [false, true, true]),
        ("own.link", [false, false, true]),
        ("closed/all", [false, false, true]),
        ("closed/../all", [false, false, true]),
        ("pipe", [false, false, false]),
        ("closed", [false, false, false]),
        ("missing", [false, false, false]),
    ] {
        let readers = [Some(&stranger), Some(&member), None];
        assert_eq!(readers.map(|reader| open_file(&at(name), reader).is_ok()), may, "{name}");
    }
    let shown = std::path::Path::new("/proc/self/root").join(at("all").strip_prefix("/").unwrap());
    assert!(open_file(&shown, Some(&stranger)).is_ok(), "through the root of a process");
    assert!(Held::open(std::path::Path::new("/proc/self/cwd")).is_ok());
}

#[test]
fn where_a_path_is_another_users_word_it_leads_only_where_that_user_can_go() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can go where others cannot.
    }
    let temp = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let user = 61_234;
    let closed = temp.path().join("closed");
    let his = closed.join("his");
    fs::create_dir_all(&his).unwrap();
    std::os::unix::fs::chown(&his, Some(user), Some(user)).unwrap();
    let link = temp.path().join("link");
    symlink(&his, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(user), Some(user)).unwrap();
    let reader = Reader::new(user, vec![user]);
    for (mode, may) in [(0o700, false), (0o711, true)] {
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Held::open_as(&link, &reader).is_ok(), may, "{mode:o}");
    }
    assert!(Held::open_as(&link, &Reader::new(0, Vec::new())).is_ok());
}
