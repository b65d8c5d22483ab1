//! A repository in an object store: the whole way against real services, and what is said when one cannot be used.

use std::fs;
use std::process::Command;

use crate::place::{Place, Ran, run, tree};
use crate::support::proxy::{Fate, Proxy, Seen};
use crate::support::server::{RedisServer, ServerKind};
use crate::support::services::Service;

/// A place whose repository is in a service.
pub struct Far {
    pub place: Place,
    pub service: Service,
    pub location: String,
    /// Between the program and the service, where a test wants to see what passes.
    pub proxy: Option<Proxy>,
}

impl Far {
    pub fn new(service: Service) -> Far {
        Far { place: Place::new(), service, location: service.location(), proxy: None }
    }

    /// The same through a proxy that lets everything pass.
    pub fn watched(service: Service) -> Far {
        Far::behind(service, |_, _| Fate::Pass)
    }

    /// The same through a proxy that does with each request what a test says.
    pub fn behind(service: Service, fate: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static) -> Far {
        Far { proxy: Some(Proxy::start(&service.address(), fate)), ..Far::new(service) }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("REDKEEP_REPO", &self.location).envs(self.service.variables());
        if let Some(proxy) = &self.proxy {
            match self.service {
                Service::Swift => command.env("ST_AUTH", format!("http://{}/auth/v1.0", proxy.address)),
                Service::Seaweed | Service::S3Api => {
                    command.env("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))
                }
            };
        }
        command
    }

    pub fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = run(&mut self.command(arguments));
        assert_eq!(ran.code, code, "{arguments:?}: {}\n{}", ran.text(), ran.stderr);
        ran
    }

    pub fn done(&self, arguments: &[&str]) -> Ran {
        let ran = self.ends(0, arguments);
        assert_eq!(ran.stderr, "", "{arguments:?}");
        ran
    }
}

/// STORE-2: every command does there what it does on a disk.
fn the_whole_way(service: Service) {
    if service.is_skipped() || ServerKind::Redis7.is_skipped() {
        return;
    }
    let far = Far::new(service);
    let made = far.done(&["init"]).text();
    assert!(made.contains(&far.location), "{made}");
    far.ends(1, &["init"]).says("already");
    far.done(&["backup", "data", "--dataset", "sessions"]);
    let first = tree(&far.place.data());
    fs::write(far.place.data().join("nodes.conf"), "vars currentEpoch 1 lastVoteEpoch 1\n").unwrap();
    let second = far.done(&["backup", "data", "--dataset", "sessions"]).text();
    assert!(second.contains("1 changed (nodes.conf)"), "{second}");
    // SESS-11: where two creators of a name may both succeed.
    assert_eq!(second.contains("where this store may take it back until then"), service == Service::Swift, "{second}");
    let listed = far.done(&["snapshots", "--json"]).json();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(2), "{listed}");
    far.done(&["check", "--read-data"]);
    far.done(&["verify", "latest"]);
    far.done(&["restore", "latest~1", "--target", "first"]);
    assert_eq!(tree(&far.place.path("first")), first);

    let data = tempfile::tempdir().unwrap();
    let server = RedisServer::start(ServerKind::Redis7, data.path());
    let (mut connection, address) = (server.connection(), format!("127.0.0.1:{}", server.port()));
    redis::cmd("SET").arg("key").arg("then").exec(&mut connection).unwrap();
    far.ends(0, &["backup", "--redis", &address, "--dataset", "live"]);
    redis::cmd("SET").arg("key").arg("now").exec(&mut connection).unwrap();
    far.ends(0, &["restore", "latest", "--dataset", "live", &format!("--server={address}"), "--yes"]);
    let mut connection = server.connection();
    assert_eq!(redis::cmd("GET").arg("key").query::<String>(&mut connection).unwrap(), "then");
    // It is another process than the one that was started here.
    let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut connection);

    far.done(&["forget", "--keep-last", "1", "--dataset", "sessions"]);
    // What is so young is never judged where a put may arrive late, and a grace time of 0 would be a promise.
    far.ends(1, &["prune", "--grace", "0"]).says("local");
    far.done(&["prune"]);
    far.done(&["check", "--read-data"]);
    let listed = far.done(&["snapshots", "--json"]).json();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(2), "{listed}");

    let mut wrong = far.command(&["snapshots"]);
    let ran = run(wrong.env("REDKEEP_PASSWORD", "another"));
    assert_eq!(ran.code, 7, "{}", ran.stderr);
}

#[test]
fn a_repository_in_seaweedfs_does_all_that_one_on_a_disk_does() {
    the_whole_way(Service::Seaweed);
}

#[test]
fn a_repository_in_swift_does_all_that_one_on_a_disk_does() {
    the_whole_way(Service::Swift);
}

#[test]
fn a_repository_in_the_s3_of_swift_does_all_that_one_on_a_disk_does() {
    the_whole_way(Service::S3Api);
}

/// STORE-7: what kept a service from answering is told apart, each with what to do about it.
#[test]
fn what_is_wrong_with_a_service_is_told_apart() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let far = Far::new(Service::Seaweed);
    let with = |code: i32, variables: &[(&str, &str)], words: [&str; 2]| {
        for command in ["init", "snapshots"] {
            let ran = run(far.command(&[command]).envs(variables.iter().copied()));
            assert_eq!(ran.code, code, "{command} {variables:?}: {}", ran.stderr);
            for word in words {
                assert!(ran.stderr.contains(word), "{command} {variables:?}: {}", ran.stderr);
            }
        }
    };
    with(6, &[("REDKEEP_REPO", "s3://no-such-bucket/x")], ["no such bucket", "hint: check its name"]);
    with(1, &[("AWS_SECRET_ACCESS_KEY", "other")], ["SignatureDoesNotMatch", "hint: check the credentials"]);
    with(1, &[("AWS_ACCESS_KEY_ID", "nobody")], ["InvalidAccessKeyId", "hint: check the credentials"]);
    with(1, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], ["refused", "hint: check the address"]);
    with(1, &[("AWS_ENDPOINT_URL", "http://no-such-host.invalid")], ["cannot", "hint: check the address"]);
    with(2, &[("AWS_SECRET_ACCESS_KEY", "")], ["AWS_SECRET_ACCESS_KEY is not", "hint: set"]);
    with(2, &[("AWS_ENDPOINT_URL", "127.0.0.1:8333")], ["address", "hint: write it as https://"]);
    with(2, &[("REDKEEP_REPO", "swift://container")], ["nothing says how to log in", "hint: set ST_AUTH"]);
    far.ends(6, &["snapshots"]).says("no repository");
}

/// STORE-7.
#[test]
fn what_is_wrong_with_a_login_is_told_apart() {
    if Service::Swift.is_skipped() {
        return;
    }
    let far = Far::new(Service::Swift);
    let with = |code: i32, variables: &[(&str, &str)], words: [&str; 2]| {
        for command in ["init", "snapshots"] {
            let ran = run(far.command(&[command]).envs(variables.iter().copied()));
            assert_eq!(ran.code, code, "{command} {variables:?}: {}", ran.stderr);
            for word in words {
                assert!(ran.stderr.contains(word), "{command} {variables:?}: {}", ran.stderr);
            }
        }
    };
    with(6, &[("REDKEEP_REPO", "swift://no-such-container/x")], ["no such container", "hint: check its name"]);
    with(1, &[("ST_KEY", "other")], ["401", "hint: check the credentials"]);
    with(1, &[("ST_AUTH", "http://127.0.0.1:1/auth/v1.0")], ["log in", "hint: check the address"]);
    with(2, &[("ST_USER", "")], ["ST_USER is not", "hint: set"]);
    far.ends(6, &["snapshots"]).says("no repository");
}

/// STORE-8: a job of cron has no variables: the configuration names a file of them.
#[test]
fn the_configuration_says_where_the_service_is_and_who_asks() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let far = Far::new(Service::Seaweed);
    let variables = far.service.variables();
    let value = |name: &str| variables.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let text = format!(
        "# what logs in\nexport AWS_ACCESS_KEY_ID='{}'\nAWS_SECRET_ACCESS_KEY={}\n",
        value("AWS_ACCESS_KEY_ID"),
        value("AWS_SECRET_ACCESS_KEY")
    );
    fs::write(far.place.path("credentials"), text).unwrap();
    let settings = format!(
        "[profile.far]\nrepo = \"{}\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\npath-style = true\n\
         credentials-file = \"credentials\"\nlag = \"1m\"\n",
        far.location,
        value("AWS_ENDPOINT_URL")
    );
    fs::write(far.place.path("redkeep.toml"), settings).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = far.place.command(arguments);
        command.env_remove("REDKEEP_REPO").args(["--config", "redkeep.toml", "--profile", "far"]);
        command
    };
    let ran = run(&mut command(&["init"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("credentials can be read by every user"), "{}", ran.stderr);
    let ran = run(command(&["snapshots"]).env("AWS_SECRET_ACCESS_KEY", "other"));
    assert_eq!(ran.code, 1, "a variable comes before the file: {}", ran.stderr);
    fs::write(far.place.path("credentials"), "no variable\n").unwrap();
    let ran = run(&mut command(&["snapshots"]));
    assert!(ran.code == 2 && ran.stderr.contains("line 1 is no NAME=VALUE"), "{}", ran.stderr);
}

/// STORE-4: another host finds out for itself what the place promises, once, where there is a repository.
#[test]
fn a_host_that_meets_a_repository_for_the_first_time_tries_what_its_place_promises() {
    for (service, word) in [(Service::Seaweed, "exclusive"), (Service::Swift, "settled")] {
        if service.is_skipped() {
            continue;
        }
        let far = Far::watched(service);
        let proxy = far.proxy.as_ref().unwrap();
        let probes =
            || proxy.seen().iter().filter(|seen| seen.method == "PUT" && seen.path.contains("/probes/")).count();
        far.ends(6, &["snapshots"]);
        assert_eq!(probes(), 0, "there is nothing to try it for");
        far.done(&["init"]);
        fs::remove_dir_all(far.place.path("home")).unwrap();
        proxy.drain();
        let ran = far.ends(0, &["snapshots"]);
        assert!(ran.stderr.contains(&format!("put_new is {word}")) && probes() >= 2, "{}", ran.stderr);
        proxy.drain();
        far.ends(0, &["snapshots"]);
        assert_eq!(probes(), 0, "{service:?}");
    }
}
