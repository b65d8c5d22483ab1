//! Frames of one pack that lie near each other are read at once, as a run.

/// Bytes of a run: a whole pack of the usual size is one read.
pub(super) const RUN: u64 = 16 << 20;
/// A gap between two wanted frames that is read rather than skipped.
const GAP: u64 = 256 << 10;

/// Frames of one pack, joined into one read.
#[derive(Debug)]
pub(super) struct Run<T> {
    /// Offset in the pack.
    pub offset: u64,
    /// Bytes, at most [`RUN`] where it holds more than one frame.
    pub length: u64,
    /// What is wanted from each frame.
    pub frames: Vec<T>,
}

/// Joins frames of a pack into few reads. They come in the order of their offsets, each with its offset and length.
pub(super) fn runs<T>(frames: impl Iterator<Item = (u64, u32, T)>) -> Vec<Run<T>> {
    let mut runs: Vec<Run<T>> = Vec::new();
    for (start, sealed, frame) in frames {
        let end = start + u64::from(sealed);
        match runs.last_mut() {
            // A catalog whose offsets do not ascend is damaged: each of them is read apart, and found out.
            Some(run)
                if (run.offset + run.length..=run.offset + run.length + GAP).contains(&start)
                    && end - run.offset <= RUN =>
            {
                run.length = end - run.offset;
                run.frames.push(frame);
            }
            _ => runs.push(Run { offset: start, length: end - start, frames: vec![frame] }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_frames_are_read_at_once_and_far_ones_apart() {
        let near = [(64, 1000, 'a'), (1064, 1000, 'b'), (9000, 500, 'c')];
        let far = [(9500 + GAP + 1, 100, 'd'), (RUN + GAP + 20_000, 100, 'e')];
        let found = runs(near.into_iter().chain(far));
        let shape: Vec<_> = found.iter().map(|run| (run.offset, run.length, run.frames.len())).collect();
        assert_eq!(shape, [(64, 9436, 3), (9501 + GAP, 100, 1), (RUN + GAP + 20_000, 100, 1)]);
    }

    #[test]
    fn a_run_ends_before_it_is_longer_than_allowed() {
        let frames = (0..40).map(|n| (64 + n * (1 << 20), 1 << 20, n));
        let found: Vec<_> = runs(frames).iter().map(|run| (run.length, run.frames.len())).collect();
        assert_eq!(found, [(RUN, 16), (RUN, 16), (8 << 20, 8)]);
    }

    #[test]
    fn offsets_that_do_not_ascend_are_read_apart() {
        let found = runs([(1064, 1000, ()), (64, 1000, ())].into_iter());
        assert_eq!(found.iter().map(|run| run.offset).collect::<Vec<_>>(), [1064, 64]);
    }
}
