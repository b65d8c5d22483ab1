//! Real object stores on loopback, started by the first test of a process that needs one and gone with the process:
//! SeaweedFS, and OpenStack Swift, whose proxy speaks S3 as well.
//!
//! `tests/setup.sh` installs them. One that is missing, or does not start, fails the test, unless its name is in
//! `REDKEEP_TEST_SKIP`. Tests share a bucket and take a prefix each.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::store::{self, Intent, Location, PutNew, S3, S3Keys, Settings, Store, Swift, SwiftLogin, Timing};
use serde_json::json;
use tempfile::TempDir;

/// Starting takes seconds, on a busy machine many of them.
const DEADLINE: Duration = Duration::from_secs(120);

/// The bucket, and the container, that is there.
pub const BUCKET: &str = "redkeep-tests";

/// A store program, by the name in `REDKEEP_TEST_SKIP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// S3 of SeaweedFS.
    Seaweed,
    /// Swift with TempAuth.
    Swift,
    /// S3 of the same Swift.
    S3Api,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Seaweed => "seaweedfs",
            Self::Swift | Self::S3Api => "swift",
        }
    }

    /// Whether the developer asked for tests without it. A test that needs it returns at once then.
    pub fn is_skipped(self) -> bool {
        env::var("REDKEEP_TEST_SKIP").is_ok_and(|names| names.split(',').any(|name| name == self.name()))
    }

    /// The address of the service: of its S3, or of its login.
    pub fn address(self) -> String {
        match self {
            Self::Seaweed => format!("http://127.0.0.1:{}", SEAWEED.ports[0]),
            Self::S3Api => format!("http://127.0.0.1:{}", SWIFT.ports[0]),
            Self::Swift => format!("http://127.0.0.1:{}/auth/v1.0", SWIFT.ports[0]),
        }
    }

    /// The variables that let a command reach it.
    pub fn variables(self) -> Vec<(&'static str, String)> {
        let (id, secret) = keys(self);
        let address = self.address();
        match self {
            Self::Seaweed | Self::S3Api => vec![
                ("AWS_ENDPOINT_URL", address),
                ("AWS_ACCESS_KEY_ID", id.into()),
                ("AWS_SECRET_ACCESS_KEY", secret.into()),
                ("AWS_REGION", "us-east-1".into()),
            ],
            Self::Swift => {
                vec![("ST_AUTH", address), ("ST_USER", id.into()), ("ST_KEY", secret.into())]
            }
        }
    }

    /// What lets this process reach it.
    pub fn settings(self) -> Settings {
        let (id, secret) = keys(self);
        let secret = String::from(secret).into();
        match self {
            Self::Seaweed | Self::S3Api => Settings {
                s3: S3 {
                    endpoint: Some(self.address()),
                    keys: Some(S3Keys { id: id.into(), secret, session_token: None }),
                    ..S3::default()
                },
                ..Settings::default()
            },
            Self::Swift => {
                let login = SwiftLogin::V1 { auth: self.address(), user: id.into(), key: secret };
                Settings { swift: Some(Swift { login, storage_url: None }), ..Settings::default() }
            }
        }
    }

    /// A location that nobody else has.
    pub fn location(self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let scheme = if self == Self::Swift { "swift" } else { "s3" };
        format!("{scheme}://{BUCKET}/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// A location in a bucket, or container, of its own that keeps what is deleted; with S3 locked for a day too.
    pub fn kept_location(self) -> String {
        let (id, secret) = keys(self);
        let bucket = format!("kept-{}", std::process::id());
        let script = match self {
            Self::Swift => format!(
                "set -e; head=$(curl -fsSi '{}' -H 'X-Auth-User: {id}' -H 'X-Auth-Key: {secret}' | tr -d '\\r')\n\
                 token=$(sed -n 's/^X-Auth-Token: //pI' <<<\"$head\"); url=$(sed -n 's/^X-Storage-Url: //pI' <<<\"$head\")\n\
                 curl -fsS -o /dev/null -X PUT -H \"X-Auth-Token: $token\" -H 'X-Versions-Enabled: true' \"$url/{bucket}\"",
                self.address()
            ),
            Self::Seaweed | Self::S3Api => {
                let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                            <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
                let made = make_bucket(&self.address(), (id, secret), &bucket);
                format!(
                    "set -e\n{made} -H 'x-amz-bucket-object-lock-enabled: true'\n\
                     curl -fsS -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user '{id}:{secret}' \
                     -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --data '{lock}' '{}/{bucket}?object-lock='",
                    self.address()
                )
            }
        };
        let made = run("bash", &["-c", &script]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.location().replace(BUCKET, &bucket)
    }

    /// What its `put_new` is worth: tried once for all tests.
    pub fn promised(self) -> PutNew {
        static SEAWEED: LazyLock<PutNew> = LazyLock::new(|| Service::Seaweed.tried());
        static SWIFT: LazyLock<PutNew> = LazyLock::new(|| Service::Swift.tried());
        static S3API: LazyLock<PutNew> = LazyLock::new(|| Service::S3Api.tried());
        match self {
            Self::Seaweed => *SEAWEED,
            Self::Swift => *SWIFT,
            Self::S3Api => *S3API,
        }
    }

    fn tried(self) -> PutNew {
        let location: Location = self.location().parse().unwrap();
        store::open_with(&location, Intent::Create, &self.settings()).unwrap().promises().put_new
    }

    /// A new store at a location that nobody else has. Its listings are as good as those of one node are.
    pub fn store(self) -> Arc<dyn Store> {
        self.store_at(&self.location())
    }

    /// The same at this location.
    pub fn store_at(self, location: &str) -> Arc<dyn Store> {
        let location: Location = location.parse().unwrap();
        let settings = Settings {
            timing: Some(Timing::of_lag(Duration::ZERO)),
            put_new: Some(self.promised()),
            ..self.settings()
        };
        store::open_with(&location, Intent::Create, &settings).unwrap()
    }
}

/// Who may add to a repository in SeaweedFS, and neither delete nor say what is wanted: the rights that `doctor` prints.
pub const WRITER: (&str, &str) = ("writerkey", "writersecret");

fn keys(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Seaweed => ("testkey", "testsecret"),
        Service::Swift | Service::S3Api => ("test:tester", "testing"),
    }
}

static SEAWEED: LazyLock<Running> = LazyLock::new(|| Running::start(Service::Seaweed, 9, seaweed));
static SWIFT: LazyLock<Running> = LazyLock::new(|| Running::start(Service::Swift, 5, swift));

/// A service that runs. Its processes end when this one does, however it ends: they hang on a pipe.
struct Running {
    ports: Vec<u16>,
    _guard: Child,
}

impl Running {
    /// Starts a service on ports that are free; the script gets the directory and the ports, leaves the processes behind
    /// in `run/*.pid`, and ends well once the service works.
    fn start(service: Service, ports: usize, prepare: fn(&Path, &[u16]) -> String) -> Running {
        let mut last = String::new();
        // Somebody may take a port before the service does.
        for _ in 0..3 {
            let directory = TempDir::new().unwrap().keep();
            let ports = free_ports(ports);
            let script = format!("set -eu\ncd '{}'\n{}\n", directory.display(), prepare(&directory, &ports));
            let mut guard = guard(&directory);
            let started = run("bash", &["-c", &script]);
            if started.status.success() {
                return Running { ports, _guard: guard };
            }
            drop(guard.stdin.take());
            guard.wait().unwrap();
            last = format!("{}{}", String::from_utf8_lossy(&started.stdout), String::from_utf8_lossy(&started.stderr));
        }
        panic!(
            "{} does not start: tests/setup.sh installs it, and REDKEEP_TEST_SKIP leaves its tests out\n{last}",
            service.name()
        );
    }
}

/// Ends all that `run/*.pid` names, and removes the directory, once this process is gone: nothing else writes to its pipe.
fn guard(directory: &Path) -> Child {
    let script = "read -r _ || true; for f in \"$0\"/run/*.pid; do [ -f \"$f\" ] && kill -9 \"$(cat \"$f\")\"; done; \
                  sleep 0.2; rm -rf \"$0\"";
    let mut command = Command::new("bash");
    // A signal that ends the tests is not for it.
    command.process_group(0);
    command.args(["-c", script]).arg(directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Different ports, which nobody listens on now.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn servers_dir() -> PathBuf {
    env::var_os("REDKEEP_TEST_SERVERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers"), PathBuf::from)
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What makes a bucket of an S3 service.
fn make_bucket(address: &str, (id, secret): (&str, &str), bucket: &str) -> String {
    format!(
        "curl -fsS -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user '{id}:{secret}' \
         -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' '{address}/{bucket}'"
    )
}

/// What is tried until it works, or for too long.
fn until(what: &str, command: &str) -> String {
    let tries = DEADLINE.as_secs() * 10;
    format!(
        "is_alive() {{ local f; for f in run/*.pid; do kill -0 $(cat $f) 2>/dev/null || return 1; done; }}\n\
         for i in $(seq {tries}); do if {command} 2>>log/tries; then break; fi; is_alive && [ $i != {tries} ] || \
         {{ echo '{what} does not come'; tail -n 5 log/*; exit 1; }}; sleep 0.1; done"
    )
}

fn seaweed(directory: &Path, ports: &[u16]) -> String {
    let folders = ["packs", "index", "snapshots", "leases", "notes", "probes"];
    let written = folders.map(|folder| format!("arn:aws:s3:::{BUCKET}/*/{folder}/*"));
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [format!("arn:aws:s3:::{BUCKET}")]},
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [format!("arn:aws:s3:::{BUCKET}/*")]},
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": written},
    ]});
    let identity = |name: &str, (id, secret): (&str, &str), actions: &[&str], policies: &[&str]| json!({"name": name, "credentials": [{"accessKey": id, "secretKey": secret}], "actions": actions, "policyNames": policies});
    let identities = json!({
        "identities": [
            identity("t", keys(Service::Seaweed), &["Admin", "Read", "Write", "List", "Tagging"], &[]),
            identity("w", WRITER, &[], &["writer"]),
        ],
        "policies": [{"name": "writer", "content": policy.to_string()}],
    });
    write(directory, "s3.json", &identities.to_string());
    let program = servers_dir().join("bin/weed");
    let address = format!("http://127.0.0.1:{}", ports[0]);
    let ready = make_bucket(&address, keys(Service::Seaweed), BUCKET);
    // Each bucket takes volumes of its own; where they run out every PUT is answered by 500.
    format!(
        "mkdir -p data run log\n'{program}' -logtostderr=true server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir=data \
         -master.port={} -master.port.grpc={} -master.volumeSizeLimitMB=256 -master.volumePreallocate=false \
         -volume.port={} -volume.port.grpc={} -volume.max=400 -filer -filer.port={} -filer.port.grpc={} \
         -s3 -s3.port={} -s3.port.grpc={} -s3.port.iceberg=0 -s3.port.lance=0 -s3.config=s3.json -s3.iam=false \
         >log/weed 2>&1 </dev/null & echo $! >run/weed.pid\n{}",
        ports[1],
        ports[2],
        ports[3],
        ports[4],
        ports[5],
        ports[6],
        ports[0],
        ports[7],
        until("SeaweedFS", &ready),
        program = program.display(),
    )
}

fn swift(directory: &Path, ports: &[u16]) -> String {
    let [proxy, account, container, object, memcached] = ports else { panic!("five ports") };
    for (name, port) in [("account", account), ("container", container), ("object", object)] {
        write(directory, &format!("etc/{name}-server.conf"), &swift_backend(directory, name, *port));
    }
    write(directory, "etc/proxy-server.conf", &swift_proxy(directory, *proxy, *memcached));
    let ring = |name: &str, port: &u16| {
        format!(
            "swift-ring-builder {name}.builder create 10 1 1 >/dev/null; \
             swift-ring-builder {name}.builder add r1z1-127.0.0.1:{port}/d1 1 >/dev/null; \
             swift-ring-builder {name}.builder rebalance >/dev/null"
        )
    };
    let rings = [ring("account", account), ring("container", container), ring("object", object)];
    let servers = ["account", "container", "object", "proxy"].map(|name| {
        format!("swift-{name}-server etc/{name}-server.conf -v >log/{name} 2>&1 </dev/null & echo $! >run/{name}.pid")
    });
    // Its health check answers before its parts work.
    let ready = format!(
        "token=$(curl -fsSi http://127.0.0.1:{proxy}/auth/v1.0 -H 'X-Auth-User: test:tester' -H 'X-Auth-Key: testing' | \
         tr -d '\\r' | sed -n 's/^X-Auth-Token: //pI') && [ -n \"$token\" ] && \
         curl -fsS -o /dev/null -X PUT -H \"X-Auth-Token: $token\" http://127.0.0.1:{proxy}/v1/AUTH_test/{BUCKET}"
    );
    format!(
        "mkdir -p srv/d1 run log cache\n(cd etc; {})\nmemcached -l 127.0.0.1 -p {memcached} -u \"$(id -un)\" -m 16 -t 1 \
         >log/memcached 2>&1 </dev/null & echo $! >run/memcached.pid\n{}\n{}",
        rings.join("; "),
        servers.join("\n"),
        until("Swift", &ready),
    )
}

fn swift_backend(directory: &Path, name: &str, port: u16) -> String {
    format!(
        "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = {user}\nswift_dir = {dir}/etc\n\
         devices = {dir}/srv\nmount_check = false\nrecon_cache_path = {dir}/cache\nfallocate_reserve = 0\n\
         disable_fallocate = true\nlog_level = INFO\n[pipeline:main]\npipeline = {name}-server\n\
         [app:{name}-server]\nuse = egg:swift#{name}\n",
        dir = directory.display(),
        user = user(),
    )
}

fn swift_proxy(directory: &Path, port: u16, memcached: u16) -> String {
    format!(
        "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = {user}\nswift_dir = {dir}/etc\n\
         [pipeline:main]\npipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo \
         versioned_writes symlink proxy-server\n\
         [app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n\
         [filter:catch_errors]\nuse = egg:swift#catch_errors\n[filter:gatekeeper]\nuse = egg:swift#gatekeeper\n\
         [filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{memcached}\n\
         [filter:listing_formats]\nuse = egg:swift#listing_formats\n[filter:bulk]\nuse = egg:swift#bulk\n\
         [filter:s3api]\nuse = egg:swift#s3api\ns3_acl = false\nlocation = us-east-1\n\
         [filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n\
         [filter:copy]\nuse = egg:swift#copy\n[filter:slo]\nuse = egg:swift#slo\n[filter:dlo]\nuse = egg:swift#dlo\n\
         [filter:versioned_writes]\nuse = egg:swift#versioned_writes\nallow_object_versioning = true\n\
         [filter:symlink]\nuse = egg:swift#symlink\n",
        dir = directory.display(),
        user = user(),
    )
}

fn user() -> String {
    String::from_utf8(run("id", &["-un"]).stdout).unwrap().trim().into()
}

/// Waits for something with a deadline.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().unwrap_or(false) {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
