//! What still listens on a Unix socket in a scratch directory whose process was killed: a server which that had started.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Held;

/// How long its end is waited for.
const ENDING: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

impl Held {
    /// Kills the process that listens on the socket of this name, where it is a process of the directory's owner: whoever
    /// could put a socket there can have nobody else's killed.
    pub(super) fn end_listener(&self, socket: &OsStr) -> io::Result<()> {
        let owner = self.seen()?.owner().0;
        let Some(process) = self.listener(socket, owner) else { return Ok(()) };
        let handle = pidfd_open(process, PidfdFlags::empty())?;
        // It is the same one that listens now that it is held: the number did not go to another process in between.
        if self.listener(socket, owner) != Some(process) {
            return Ok(());
        }
        pidfd_send_signal(&handle, Signal::KILL)?;
        let asked = Instant::now();
        while self.listener(socket, owner).is_some() && asked.elapsed() < ENDING {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Who listens, as the kernel tells it; `None` where nobody does, or another user.
    fn listener(&self, socket: &OsStr, owner: u32) -> Option<Pid> {
        let seen = self.look(socket).ok()??;
        // Through the descriptor, whoever moves the directory meanwhile.
        let stream = seen.is_socket().then(|| UnixStream::connect(self.reached().join(socket)))?.ok()?;
        let peer = socket_peercred(&stream).ok()?;
        (peer.uid.as_raw() == owner).then_some(peer.pid)
    }
}
