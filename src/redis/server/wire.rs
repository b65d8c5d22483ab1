//! A connection as bytes: commands out, replies in, each bounded in bytes and time. What answers at a server's address may be
//! anything.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::trouble::{HANGS, LOST, Trouble};

/// Longest reply but to the commands of [`reply_max`], in bytes: INFO of a server with every section has some 10 KiB.
const REPLY_MAX: usize = 16 << 20;
/// Longest reply of a list of clients, in bytes.
const CLIENTS_MAX: usize = 64 << 20;
/// Longest reply of the names of a thousand keys, in bytes. Only servers of redkeep's own are asked for them.
const KEYS_MAX: usize = 512 << 20;
/// Most values in a reply.
const VALUES_MAX: u64 = 1 << 18;
/// Longest line of a reply, in bytes.
const LINE_MAX: usize = 64 << 10;

/// How long a read may put off a look at the clock and at an interruption.
const LOOK: Duration = Duration::from_millis(100);
/// How long an answer may take although the user asked to stop: what has to be put in order is still asked for.
const GRACE: Duration = Duration::from_millis(500);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Commands that were sent, and whether all of them were.
#[derive(Debug)]
#[must_use]
pub(super) struct Ahead {
    is_whole: bool,
    /// Which of all that were sent, from 0.
    number: u64,
}

/// A connection as bytes.
pub(super) struct Wire {
    stream: Stream,
    /// What came and belongs to no reply yet.
    input: Vec<u8>,
    /// How long an answer may take, all of it.
    pub patience: Duration,
    /// Set once the user asks to stop.
    stop: Option<Arc<AtomicBool>>,
    /// A reply has come.
    has_answered: bool,
    /// How often commands were sent, and how often all their answers were read.
    sent: u64,
    heard: u64,
    /// What comes next is of no use: a command was not sent whole, or a reply was not read to its end.
    is_lost: bool,
}

impl Wire {
    /// Connects. `tls` where the address asks for it.
    pub(super) fn connect(
        address: &ConnectionAddr,
        tls: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
        patience: (Duration, Duration),
        stop: Option<Arc<AtomicBool>>,
    ) -> Result<Self, Trouble> {
        let (connecting, answering) = patience;
        let stream = match address {
            ConnectionAddr::Tcp(host, port) => Stream::Tcp(reach(host, *port, connecting, answering)?),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(Trouble::broken(
                    "a connection whose other end is not known is not made",
                    "name the server's certificate with --tls-ca",
                ));
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                let config = tls()
                    .map_err(|what| Trouble::broken(what, "check the files of --tls-ca, --tls-cert and --tls-key"))?;
                let tcp = reach(host, *port, connecting, answering)?;
                Stream::Tls(Box::new(shake_hands(config, host, tcp, connecting)?))
            }
            ConnectionAddr::Unix(path) => {
                let stream = UnixStream::connect(path);
                let stream = stream.map_err(|error| Trouble::of_connecting(&error, connecting.as_secs()))?;
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(answering))?;
                Stream::Unix(stream)
            }
            _ => {
                return Err(Trouble::broken(
                    "what kind of address it is is not known",
                    "write it like redis://HOST:PORT",
                ));
            }
        };
        let (input, has_answered, is_lost) = (Vec::new(), false, false);
        Ok(Self { stream, input, patience: answering, stop, has_answered, sent: 0, heard: 0, is_lost })
    }

    /// Sends commands that are packed already: [`Self::answers`] has to follow, in the order in which they were sent. `name` is
    /// the command's, for people.
    pub(super) fn send_ahead(&mut self, packed: &[u8], name: &str) -> Result<Ahead, Trouble> {
        if self.is_lost {
            return Err(Trouble::broken("the connection was lost before", LOST));
        }
        let sent = self.stream.write_all(packed).and_then(|()| self.stream.flush());
        self.is_lost = sent.is_err();
        if let Err(error) = &sent
            && is_early(error)
        {
            let seconds = self.patience.as_secs();
            return Err(Trouble::broken(format!("{name} could not be sent within {seconds} s"), HANGS));
        }
        // One that closes at once may have said why.
        self.sent += 1;
        Ok(Ahead { is_whole: sent.is_ok(), number: self.sent - 1 })
    }

    /// The bytes of so many replies to what was sent.
    pub(super) fn answers(&mut self, sent: Ahead, replies: usize, name: &str) -> Result<Vec<Vec<u8>>, Trouble> {
        if sent.number != self.heard {
            self.is_lost = true;
            return Err(Trouble::broken(format!("{name} was not the first to be answered"), LOST));
        }
        let (begun, mut at, was_lost) = (Instant::now(), 0, std::mem::replace(&mut self.is_lost, true));
        let answers = (0..replies).map(|_| self.reply(&mut at, begun, name)).collect::<Result<Vec<_>, _>>()?;
        self.input.drain(..at);
        self.heard += 1;
        (self.is_lost, self.has_answered) = (was_lost || !sent.is_whole, true);
        Ok(answers)
    }

    /// The reply that begins there in what has come; moves on behind it.
    fn reply(&mut self, at: &mut usize, begun: Instant, name: &str) -> Result<Vec<u8>, Trouble> {
        let most = reply_max(name);
        let mut frame = Frame::default();
        loop {
            let input = self.input.get(*at..).unwrap_or_default();
            match frame.follow(input, most) {
                Ok(Some(end)) => {
                    let reply = input.get(..end).unwrap_or_default().to_vec();
                    *at += end;
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(what) => return Err(Trouble::of_strange_answer(name, &what, input)),
            }
            // What was taken goes at times, and not with each small reply.
            self.input.drain(..std::mem::take(at));
            self.read_more(begun, name)?;
        }
    }

    fn read_more(&mut self, begun: Instant, name: &str) -> Result<(), Trouble> {
        let mut piece = [0; 16 << 10];
        loop {
            let (waited, stop) = (begun.elapsed(), self.stop.as_ref());
            if waited > GRACE && stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(Trouble::Interrupted);
            }
            if waited > self.patience {
                let seconds = self.patience.as_secs();
                return Err(Trouble::broken(format!("{name} was not answered within {seconds} s"), HANGS));
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(self.closed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.input.extend_from_slice(piece.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if is_early(&error) => {}
                Err(error) => return Err(self.closed(error)),
            }
        }
    }

    /// Sends a command whose answer is no reply of the usual kind.
    pub(super) fn send(&mut self, packed: &[u8]) -> Result<(), Trouble> {
        Ok(self.stream.write_all(packed).and_then(|()| self.stream.flush())?)
    }

    /// The next line, without its end. An empty one is a sign of life and nothing else. Whatever was asked for, each line
    /// may take as long as an answer.
    pub(super) fn line(&mut self, name: &str) -> Result<Vec<u8>, Trouble> {
        let begun = Instant::now();
        loop {
            if let Some(feed) = self.input.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
                let rest = self.input.split_off(feed + 1);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            if self.input.len() >= LINE_MAX {
                return Err(Trouble::of_strange_answer(name, "has a line without an end", &self.input));
            }
            self.read_more(begun, name)?;
        }
    }

    /// Some of what a server sends on its own: 0 bytes at its end, `None` where nothing has come for a moment.
    pub(super) fn some(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Trouble> {
        if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(Trouble::Interrupted);
        }
        if !self.input.is_empty() {
            let count = self.input.len().min(buffer.len());
            let rest = self.input.split_off(count);
            let now = std::mem::replace(&mut self.input, rest);
            buffer.get_mut(..count).unwrap_or_default().copy_from_slice(&now);
            return Ok(Some(count));
        }
        match self.stream.read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_early(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn closed(&self, error: io::Error) -> Trouble {
        let is_closed = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        match is_closed && !self.has_answered {
            true => Trouble::closed_at_once(matches!(self.stream, Stream::Tls(_))),
            false => error.into(),
        }
    }
}

/// How long a reply may be.
fn reply_max(name: &str) -> usize {
    match name.to_ascii_uppercase().as_str() {
        "CLIENT" => CLIENTS_MAX,
        "SCAN" => KEYS_MAX,
        _ => REPLY_MAX,
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The first of a host's addresses that takes the connection.
fn reach(host: &str, port: u16, connecting: Duration, answering: Duration) -> Result<TcpStream, Trouble> {
    let mut last = io::Error::other("the name has no address");
    let found = (host, port).to_socket_addrs().map_err(io::Error::other);
    for address in found.map_err(|error| Trouble::of_connecting(&error, connecting.as_secs()))? {
        match TcpStream::connect_timeout(&address, connecting) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(answering))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(Trouble::of_connecting(&last, connecting.as_secs()))
}

fn shake_hands(
    config: Arc<ClientConfig>,
    host: &str,
    mut tcp: TcpStream,
    patience: Duration,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Trouble> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| Trouble::broken(error.to_string(), "is its name or address right?"))?;
    let mut connection = ClientConnection::new(config, name).map_err(|error| Trouble::of_tls(&error))?;
    let begun = Instant::now();
    while connection.is_handshaking() {
        if begun.elapsed() > patience {
            let what = format!("TLS was not agreed on within {} s", patience.as_secs());
            let hint = "does it speak TLS there? else write redis:// rather than rediss://, or name its TLS port";
            return Err(Trouble::broken(what, hint));
        }
        if connection.wants_write() {
            connection.write_tls(&mut tcp)?;
            continue;
        }
        match connection.read_tls(&mut tcp) {
            Ok(0) => return Err(Trouble::closed_at_once(true)),
            Ok(_) => {
                let read = connection.process_new_packets();
                if let Err(error) = read {
                    // The other end is told, as far as it listens: its log says why, too.
                    let _ = connection.write_tls(&mut tcp);
                    return Err(Trouble::of_tls(&error));
                }
            }
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// How far a reply was followed. It may come in any pieces.
#[derive(Debug)]
struct Frame {
    /// Where the next value begins.
    at: usize,
    /// Values still to come, and values seen.
    left: u64,
    seen: u64,
}

impl Default for Frame {
    fn default() -> Self {
        Self { at: 0, left: 1, seen: 0 }
    }
}

impl Frame {
    /// Where the reply ends that `input` begins with; `None` if it is not all there.
    fn follow(&mut self, input: &[u8], most: usize) -> Result<Option<usize>, String> {
        let too_long = || format!("is longer than {most} bytes");
        while self.left > 0 {
            let rest = input.get(self.at..).unwrap_or_default();
            let Some(feed) = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
                return if rest.len() >= LINE_MAX { Err("has a line without an end".into()) } else { Ok(None) };
            };
            let (line, is_not) = (rest.get(..feed).unwrap_or_default(), || "is not the protocol of Redis".to_owned());
            let (kind, number) = line.split_first().ok_or_else(is_not)?;
            let number = || std::str::from_utf8(number).ok().and_then(|text| text.trim_end().parse::<i64>().ok());
            let (mut end, mut values) = (self.at + feed + 1, 0);
            match kind {
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
                // A negative length is that of nothing.
                b'$' | b'=' | b'!' => {
                    let length = number().ok_or_else(is_not)?;
                    let body = usize::try_from(length).map_or(0, |length| length.saturating_add(2));
                    end = end.saturating_add(body);
                }
                b'*' | b'~' | b'>' => values = u64::try_from(number().ok_or_else(is_not)?).unwrap_or(0),
                b'%' => values = u64::try_from(number().ok_or_else(is_not)?).unwrap_or(0).saturating_mul(2),
                _ => return Err(is_not()),
            }
            self.seen = self.seen.saturating_add(values);
            if end > most {
                return Err(too_long());
            }
            if self.seen > VALUES_MAX {
                return Err(format!("holds more than {VALUES_MAX} values"));
            }
            if end > input.len() {
                return Ok(None);
            }
            self.left = self.left - 1 + values;
            self.at = end;
        }
        Ok(Some(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(input: &[u8]) -> Result<Option<usize>, String> {
        Frame::default().follow(input, 100)
    }

    #[test]
    fn a_reply_ends_where_its_last_value_does_in_whatever_pieces_it_comes() {
        for reply in [
            &b"+OK\r\n"[..],
            b"-ERR no\r\n",
            b":-7\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$5\r\na\r\nb\n\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n+x\r\n",
            b"%1\r\n+a\r\n+b\r\n",
        ] {
            let more = [reply, b"+next\r\n"].concat();
            let mut frame = Frame::default();
            for end in 0..reply.len() {
                assert_eq!(frame.follow(&more[..end], 100), Ok(None), "{}", reply.escape_ascii());
            }
            assert_eq!(frame.follow(&more, 100), Ok(Some(reply.len())), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn a_reply_without_bounds_is_refused_when_it_says_so_or_grows_so() {
        for (reply, why) in [
            (&b"$60000000000\r\n"[..], "is longer than 100 bytes"),
            (b"$9223372036854775807\r\n", "is longer than 100 bytes"),
            (b"*2147483647\r\n:1\r\n", "holds more than"),
            (b"%9223372036854775807\r\n", "holds more than"),
            (b"HTTP/1.1 400 Bad Request\r\n", "is not the protocol"),
            (b"$x\r\n", "is not the protocol"),
            (b"\n", "is not the protocol"),
        ] {
            let refused = follow(reply).unwrap_err();
            assert!(refused.contains(why), "{}: {refused}", reply.escape_ascii());
        }
        let line = [b"+".as_slice(), &[b'x'; LINE_MAX]].concat();
        assert!(Frame::default().follow(&line, REPLY_MAX).unwrap_err().contains("without an end"));
        let many = [b"*40\r\n".as_slice(), &b":1\r\n".repeat(40)].concat();
        assert!(follow(&many).unwrap_err().contains("is longer than 100 bytes"));
    }

    /// Asks someone who answers with these bytes, one piece after each pause, again and again.
    fn ask(pieces: &'static [u8], pause: Duration, stop: Option<Arc<AtomicBool>>) -> (Trouble, Duration) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ConnectionAddr::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until nobody listens any more.
            while stream.write_all(pieces).is_ok() {
                std::thread::sleep(pause);
            }
        });
        let patience = Duration::from_millis(1500);
        let mut wire = Wire::connect(&address, || Err(String::new()), (patience, patience), stop).unwrap();
        let begun = Instant::now();
        let mut ask =
            |packed: &[u8], name: &str| wire.send_ahead(packed, name).and_then(|sent| wire.answers(sent, 1, name));
        let trouble = ask(b"INFO\r\n", "INFO").unwrap_err();
        assert!(
            matches!(ask(b"PING\r\n", "PING"), Err(Trouble::Broken { what: why, .. }) if why.contains("lost before"))
        );
        (trouble, begun.elapsed())
    }

    #[test]
    fn an_answer_that_drips_without_end_is_waited_for_as_long_as_one_that_does_not_come() {
        let (trouble, waited) = ask(b"x", Duration::from_millis(20), None);
        assert!(
            matches!(trouble, Trouble::Broken { what: why, .. } if why.contains("is not the protocol") || why.contains("within 1 s"))
        );
        assert!(waited < Duration::from_secs(10));
        let (trouble, waited) = ask(b"+", Duration::from_millis(20), None);
        assert!(
            matches!(&trouble, Trouble::Broken { what: why, .. } if why == "INFO was not answered within 1 s"),
            "{trouble:?}"
        );
        assert!(waited < Duration::from_secs(10));
    }

    #[test]
    fn an_interruption_ends_the_wait_for_an_answer() {
        let stop = Arc::new(AtomicBool::new(true));
        let (trouble, waited) = ask(b"+", Duration::from_millis(20), Some(stop));
        assert!(matches!(trouble, Trouble::Interrupted) && waited >= GRACE, "{trouble:?}");
    }

    #[test]
    fn an_endless_answer_is_refused_before_it_takes_the_memory() {
        for (pieces, why) in
            [(&b"*100000\r\n"[..], "more than"), (b"+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "without an end")]
        {
            let (trouble, _) = ask(pieces, Duration::ZERO, None);
            assert!(matches!(&trouble, Trouble::Broken { what: said, .. } if said.contains(why)), "{trouble:?}");
        }
    }
}
