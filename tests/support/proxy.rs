//! What may go wrong between redkeep and a service: a proxy that looks at each request and lets a test decide its fate.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All header lines, in lower case.
    pub headers: String,
    /// A body that is text.
    pub body: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It reaches the service, and the answer the client.
    Pass,
    /// The proxy answers, and the service never hears of it.
    Answer(u16),
    /// The connection breaks before the service hears of it.
    Drop,
    /// The service does what was asked, and the connection breaks before the answer.
    Lose,
    /// It passes without this header.
    Without(&'static str),
    /// The proxy answers this, from the status on.
    Say(String),
}

/// A proxy, until the process ends.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    /// In front of a service; `fate` gets each request and how many of its method came before.
    pub fn start(service: &str, fate: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static) -> Proxy {
        Proxy::listen(service, None, fate)
    }

    /// The same by TLS, with a certificate and its key in PEM.
    pub fn start_tls(service: &str, certificate: &Path, key: &Path) -> Proxy {
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        Proxy::listen(service, Some(Arc::new(config)), |_, _| Fate::Pass)
    }

    fn listen(
        service: &str,
        tls: Option<Arc<ServerConfig>>,
        fate: impl Fn(&Seen, usize) -> Fate + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service: Arc<str> = service.trim_start_matches("http://").split('/').next().unwrap().into();
        let (log, fate) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(fate));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (service, log, fate) = (Arc::clone(&service), Arc::clone(&log), Arc::clone(&fate));
                let tls = tls.clone();
                thread::spawn(move || {
                    // A connection that breaks is what it is for.
                    let _ = match tls {
                        None => serve(client, &service, &log, &*fate),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, client), &service, &log, &*fate)
                        }
                    };
                });
            }
        });
        Proxy { address, log: kept }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method and last part of the path of each request, forgetting them.
    pub fn drain(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        let short = |path: &str| path.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap().to_owned();
        seen.into_iter().map(|seen| format!("{} {}", seen.method, short(&seen.path))).collect()
    }
}

fn serve(
    client: impl io::Read + io::Write,
    service: &str,
    log: &Mutex<Vec<Seen>>,
    fate: &dyn Fn(&Seen, usize) -> Fate,
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let (first, headers) = head.split_once("\r\n").unwrap();
        let mut words = first.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let mut seen = Seen { method: word(), path: word(), headers: headers.to_lowercase(), body: String::new() };
        let length = seen.headers.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: u64 = length.map_or(0, |length| length.trim().parse().unwrap());
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body)?;
        seen.body = String::from_utf8(body.clone()).unwrap_or_default();
        let before = {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let before = log.iter().filter(|other| other.method == seen.method).count();
            log.push(seen.clone());
            before
        };
        let without = match fate(&seen, before) {
            Fate::Pass => None,
            Fate::Without(name) => Some(name),
            Fate::Answer(status) => {
                write!(reader.get_mut(), "HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n")?;
                reader.get_mut().flush()?;
                continue;
            }
            Fate::Say(answer) => {
                write!(reader.get_mut(), "HTTP/1.1 {answer}")?;
                reader.get_mut().flush()?;
                continue;
            }
            Fate::Drop => return Ok(()),
            Fate::Lose => {
                let mut gone = ask(service, first, headers, None, &body)?;
                io::copy(&mut gone, &mut io::sink())?;
                return Ok(());
            }
        };
        let mut answer = ask(service, first, headers, without, &body)?;
        io::copy(&mut answer, reader.get_mut())?;
        // The service closed its side, which is how the end of the answer is told.
        return reader.get_mut().flush();
    }
}

/// The request on a connection of its own, which ends with the answer.
fn ask(service: &str, first: &str, headers: &str, without: Option<&str>, body: &[u8]) -> io::Result<TcpStream> {
    let mut upstream = TcpStream::connect(service)?;
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        name != "connection" && Some(name.as_str()) != without
    };
    let headers: Vec<&str> = headers.trim_end().lines().filter(is_kept).collect();
    write!(upstream, "{first}\r\n{}\r\nConnection: close\r\n\r\n", headers.join("\r\n"))?;
    upstream.write_all(body)?;
    Ok(upstream)
}
