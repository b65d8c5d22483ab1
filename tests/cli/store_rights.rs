//! What a host may do in an object store: one that only adds, and one that also takes away.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::object_stores::Far;
use crate::place::{Ran, run};
use crate::support::services::{Service, WRITER, wait_for};

impl Far {
    /// Runs a command with a writer's rights.
    fn writes(&self, code: i32, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", WRITER.0).env("AWS_SECRET_ACCESS_KEY", WRITER.1);
        let ran = run(&mut command);
        assert_eq!(ran.code, code, "{arguments:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    }
}

/// STORE-11
#[test]
fn a_writer_backs_up_and_checks_and_neither_forgets_nor_prunes() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let far = Far::new(Service::Seaweed);
    far.done(&["init"]);
    far.writes(0, &["backup", "data", "--dataset", "d"]);
    far.writes(0, &["backup", "data", "--dataset", "d", "--read-all"]);
    far.writes(0, &["check", "--read-data"]);
    fs::write(far.place.path("new"), "another\n").unwrap();
    far.writes(0, &["restore", "latest", "--target", "back"]);
    for refused in [&["forget", "--keep-last", "1"][..], &["prune"], &["key", "add", "--new-password-file", "new"]] {
        let ran = far.writes(1, refused);
        assert!(ran.stderr.contains("403") && ran.stderr.contains("rights of a keeper"), "{refused:?}: {}", ran.stderr);
    }
    let doctor = ["doctor", "--dir", "data", "--json"];
    let root = far.place.arg("");
    let doctor = [&doctor[..], &["--root", &root]].concat();
    let service = |ran: Ran| ran.json()["service"].clone();
    let of_writer =
        service(run(far.command(&doctor).env("AWS_ACCESS_KEY_ID", WRITER.0).env("AWS_SECRET_ACCESS_KEY", WRITER.1)));
    assert_eq!(
        (&of_writer["may_store"], &of_writer["may_replace"], &of_writer["may_delete"]),
        (&true.into(), &true.into(), &false.into())
    );
    let of_keeper = service(run(&mut far.command(&doctor)));
    assert_eq!((&of_keeper["may_delete"], &of_keeper["keeps_versions"]), (&true.into(), &false.into()));
    let prefix = far.location.trim_start_matches("s3://");
    assert!(of_keeper["writer"].as_str().unwrap().contains(&format!("arn:aws:s3:::{prefix}/packs/*")), "{of_keeper}");
    far.done(&["forget", "--keep-last", "1"]);
    far.done(&["prune"]);
}

/// STORE-12
#[test]
fn a_bucket_that_keeps_what_is_deleted_is_as_good_as_any_and_doctor_says_what_it_keeps() {
    for service in [Service::Seaweed, Service::Swift] {
        if service.is_skipped() {
            continue;
        }
        let far = Far { location: service.kept_location(), ..Far::new(service) };
        far.done(&["init"]);
        far.ends(0, &["backup", "data", "--dataset", "d"]);
        fs::write(far.place.data().join("nodes.conf"), "vars currentEpoch 1 lastVoteEpoch 1\n").unwrap();
        far.ends(0, &["backup", "data", "--dataset", "d"]);
        far.done(&["forget", "--keep-last", "1"]);
        let told = far.ends(0, &["prune"]).stderr;
        assert!(!told.contains("keeps versions"), "nothing was deleted: {told}");
        // The snapshot that was forgotten goes once that is two seconds ago, by every clock.
        let then = SystemTime::now() + Duration::from_secs(3);
        wait_for("the grace time", || Ok(SystemTime::now() > then));
        let told = far.ends(0, &["prune", "--grace", "2s"]).stderr;
        assert!(told.contains("the bucket keeps versions of what is deleted"), "{service:?}: {told}");
        far.done(&["check", "--read-data"]);
        far.done(&["restore", "latest", "--target", "back"]);
        let root = far.place.arg("");
        let doctor = run(&mut far.command(&["doctor", "--dir", "data", "--json", "--root", &root]));
        let told = doctor.json();
        assert_eq!(told["service"]["keeps_versions"], true, "{service:?}: {told}");
        let says = |word: &str| doctor.text().contains(word);
        assert!(says("version") && says("objects are locked") == (service == Service::Seaweed), "{service:?}: {told}");
    }
}
