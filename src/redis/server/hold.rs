//! Writes of clients that are held back while a server saves what it holds and is stopped: what it answered is then in the
//! save, or was not answered.

use std::time::Duration;

use super::connection::Server;
use crate::redis::RedisError;

/// How long writes are held back without a further word, in milliseconds: a server whose redkeep was killed goes on then.
const HELD: &str = "60000";

/// How often a server has to be told again that they are held back.
pub const HOLD_AGAIN: Duration = Duration::from_secs(20);

impl Server {
    /// Holds back writes of clients from now on, for a minute. Servers know this from 6.2 on.
    pub fn hold_writes(&mut self) -> Result<(), RedisError> {
        self.words(&["CLIENT", "PAUSE", HELD, "WRITE"]).map(drop)
    }

    /// Lets clients write again.
    pub fn release_writes(&mut self) -> Result<(), RedisError> {
        self.words(&["CLIENT", "UNPAUSE"]).map(drop)
    }

    /// Saves, however long it takes, with nothing of clients between the save and the word that holds them back further.
    pub fn save_and_hold(&mut self, longest: Duration) -> Result<(), RedisError> {
        self.wait_up_to(longest)?;
        let mut both = ::redis::pipe();
        both.cmd(self.address().command("SAVE"));
        both.cmd(self.address().command("CLIENT")).arg("PAUSE").arg(HELD).arg("WRITE");
        self.at_once::<String>("SAVE", &both).map(drop)
    }
}
