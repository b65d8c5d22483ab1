//! How tests sweep.

use std::time::Duration;

use redkeep::operations::prune::Options;
use redkeep::repository::IntakeOptions;

/// What nobody needs goes at once, and with it what little of a pack is needed by nobody; on one core.
pub const AT_ONCE: Options = Options {
    grace: Duration::ZERO,
    max_unused: 0.0,
    max_rewrite: None,
    reseal: false,
    dry_run: false,
    intake: IntakeOptions { level: 1, workers: 1 },
};
