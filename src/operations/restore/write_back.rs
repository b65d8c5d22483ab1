//! Bringing files to the disk: early, while they are still being written, so that the last sync has little left to do.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded};

/// Bytes written to a file before they are sent to the disk.
const STEP: u64 = 32 << 20;
/// Files synced at once: a disk takes several, and a journal takes many small ones together.
const THREADS: usize = 4;

/// Number of the file that could not be brought to the disk, and why.
pub(super) type Failure = (usize, io::Error);

/// Runs `work`, which tells of each write: the file's number, the bytes. Files much written to are synced meanwhile. A
/// write that the disk refuses then is told once by the system, so it is answered here and not left to the last sync.
pub(super) fn write_back<T>(
    files: &[File],
    work: impl FnOnce(&(dyn Fn(usize, u64) + Sync)) -> T,
) -> (T, Result<(), Failure>) {
    let written: Vec<AtomicU64> = files.iter().map(|_| AtomicU64::new(0)).collect();
    let (due, to_sync) = bounded(files.len().max(1));
    thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| scope.spawn(|| sync_due(files, &to_sync)));
        let note = |number: usize, bytes: u64| {
            let Some(sum) = written.get(number) else { return };
            let before = sum.fetch_add(bytes, Ordering::Relaxed);
            if before / STEP != (before + bytes) / STEP {
                // Where the disk is behind, the file waits for its next turn.
                let _ = due.try_send(number);
            }
        };
        let done = work(&note);
        drop(due);
        let synced = threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (done, synced.into_iter().collect())
    })
}

fn sync_due(files: &[File], to_sync: &Receiver<usize>) -> Result<(), Failure> {
    to_sync.iter().try_for_each(|number| sync(files, number, File::sync_data))
}

/// Brings files to the disk, all of them.
pub(super) fn sync_all(files: &[File]) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let sync_some = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        match number < files.len() {
            true => sync(files, number, File::sync_all)?,
            false => return Ok(()),
        }
    };
    thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| scope.spawn(sync_some));
        let synced = threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        synced.into_iter().collect()
    })
}

fn sync(files: &[File], number: usize, how: impl Fn(&File) -> io::Result<()>) -> Result<(), Failure> {
    files.get(number).map_or(Ok(()), how).map_err(|error| (number, error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file that takes writes and cannot be synced.
    fn refuses_sync() -> File {
        File::options().write(true).open("/dev/null").unwrap()
    }

    #[test]
    fn a_sync_that_fails_names_its_file_whether_early_or_last() {
        let files = [tempfile::tempfile().unwrap(), refuses_sync(), tempfile::tempfile().unwrap()];
        assert_eq!(sync_all(&files).unwrap_err().0, 1);
        assert!(sync_all(&files[..1]).is_ok());
        let (done, synced) = write_back(&files, |note| {
            (&files[1]).write_all(b"x").unwrap();
            note(1, STEP);
            "the work's own answer"
        });
        assert_eq!((done, synced.unwrap_err().0), ("the work's own answer", 1));
    }

    #[test]
    fn files_little_written_to_are_left_to_the_last_sync() {
        let files = [refuses_sync()];
        let (_, synced) = write_back(&files, |note| (0..STEP - 1).step_by(1 << 20).for_each(|_| note(0, 1 << 19)));
        assert!(synced.is_ok());
    }
}
