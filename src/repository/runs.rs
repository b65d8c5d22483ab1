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

/// Joins runs of one pack where most of what lies between their ends is wanted: where each read is a request over a network, that
/// costs less than one more of them.
pub(super) fn join<T>(apart: Vec<Run<T>>) -> Vec<Run<T>> {
    let mut joined: Vec<(Run<T>, u64)> = Vec::new();
    for mut run in apart {
        match joined.last_mut() {
            Some((last, wanted)) if is_worth_it(last, *wanted, &run) => {
                *wanted += run.length;
                last.length = run.offset + run.length - last.offset;
                last.frames.append(&mut run.frames);
            }
            _ => {
                let wanted = run.length;
                joined.push((run, wanted));
            }
        }
    }
    joined.into_iter().map(|(run, _)| run).collect()
}

/// Whether three quarters of what would be read with the next run are wanted.
fn is_worth_it<T>(last: &Run<T>, wanted: u64, next: &Run<T>) -> bool {
    let span = (next.offset + next.length).saturating_sub(last.offset);
    next.offset >= last.offset + last.length && span <= RUN && (wanted + next.length) * 4 >= span * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_where_most_of_what_lies_between_their_ends_is_wanted() {
        const MIB: u64 = 1 << 20;
        let shape = |frames: &[(u64, u64)]| {
            let frames = frames.iter().map(|(start, length)| (start * MIB, (length * MIB) as u32, ()));
            let joined = join(runs(frames));
            joined.iter().map(|run| (run.offset / MIB, run.length / MIB, run.frames.len())).collect::<Vec<_>>()
        };
        assert_eq!(shape(&[(0, 3), (4, 1), (6, 4)]), [(0, 10, 3)]);
        assert_eq!(shape(&[(0, 2), (3, 1)]), [(0, 4, 2)], "three of four");
        assert_eq!(shape(&[(0, 1), (2, 1), (4, 1)]), [(0, 1, 1), (2, 1, 1), (4, 1, 1)], "two of three");
        assert_eq!(shape(&[(0, 8), (9, 7), (17, 1)]), [(0, 16, 2), (17, 1, 1)], "no longer than a run may be");
    }

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
