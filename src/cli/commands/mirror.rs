//! `redkeep mirror`.

use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::human::{count, plain, size};
use crate::cli::outcome::Outcome;
use crate::cli::second::Second;
use crate::operations::mirror::{Options, Report, Sum, mirror};
use crate::store::{self, Intent, Location, Store, StoreError};

/// Keep a second copy of the repository as it is
///
/// Sends the objects of the repository, sealed as they are, to a second place: another disk, S3 or Swift. No password is asked for.
/// What comes is the same repository, opened by the same passwords; it is there to be read, and to take the first one's place.
///
/// An object that is there is not sent again, and after an interruption the same command goes on. At each moment the second
/// place is a repository that holds some of the snapshots, each with all it needs, or none yet. Backups and prunes may go on in the
/// source meanwhile. Packs, index objects and snapshots are compared with their hashes on the way; one that is damaged is named and
/// not sent (4), so that a mirror never takes damage over what it has.
///
/// What the source no longer has stays in the mirror, slots of passwords that were removed among it, unless --delete is given.
/// Never back up into a mirror, or prune it: it is refused from then on.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep mirror /mnt/second
  redkeep mirror s3://elsewhere/redis --dry-run
  redkeep mirror --to-profile elsewhere --delete
  redkeep mirror /mnt/second --verify          # read what is there, too
  redkeep mirror --repo /mnt/second /srv/new   # and back again

The other place:
  The profile of --to-profile may say repo, endpoint, region,
  credentials-file and so on: what stands in its credentials-file counts,
  not the environment.

JSON:
  {\"repository\": id, \"from\", \"to\", \"dry_run\": true or false,
   \"new\": whether the place held nothing,
   \"sent\": {\"objects\", \"bytes\"}, \"there\": {the same},
   \"deleted\": {the same}, \"left\": {the same}: no longer in the source,
   \"waiting\": snapshots too young for a listing that lags,
   \"mended\": [names that were damaged there],
   \"damaged\": [{\"object\", \"why\"}] in the source}
")]
pub(crate) struct Arguments {
    /// The second place: a directory, s3://BUCKET/PREFIX or swift://CONTAINER/PREFIX
    #[arg(value_name = "LOCATION")]
    to: Option<String>,
    /// A profile of the configuration that says where it is and how it is reached
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,
    /// Delete there what the source no longer has
    #[arg(long)]
    delete: bool,
    /// Read what is there, and send again what is not what it should be
    #[arg(long)]
    verify: bool,
    /// Only say what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Mirrors the repository.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let second = context.second(arguments.to.as_deref(), arguments.to_profile.as_deref(), "LOCATION")?;
    let options = Options { deletes: arguments.delete, verifies: arguments.verify, is_dry: arguments.dry_run };
    context.progress.stop_in_order();
    done(&second, &options, context)
}

/// Mirrors the repository, and says what came of it.
pub(super) fn done(second: &Second, options: &Options, context: &Context) -> anyhow::Result<Outcome> {
    let location = context.location()?;
    let source = store::open_with(&location, Intent::Existing, &context.store_settings(&location)?)?;
    let target = open(second, options.is_dry)?;
    let report = mirror(&*source, target.as_deref(), options, SystemTime::now(), &context.progress)?;
    context.progress.finish();
    let sum = |sum: &Sum| json!({"objects": sum.objects, "bytes": sum.bytes});
    let damaged = report.damaged.iter().map(|(object, why)| json!({"object": object, "why": why}));
    let object = json!({
        "repository": report.repository.to_string(),
        "from": location.to_string(),
        "to": second.location.to_string(),
        "dry_run": options.is_dry,
        "new": report.is_new,
        "sent": sum(&report.sent),
        "there": sum(&report.there),
        "deleted": sum(&report.deleted),
        "left": sum(&report.left),
        "waiting": report.waiting,
        "mended": report.mended,
        "damaged": damaged.collect::<Vec<_>>(),
    });
    let short = format!("mirrored {}, {}", count(report.sent.objects, "object"), size(report.sent.bytes));
    let outcome = Outcome::deed(text(&report, &second.location, options), &object)?.in_short(short);
    let waiting = (report.waiting > 0).then(|| {
        format!(
            "{} so young that listings of the source may not show all it needs: the next mirror sends it",
            count(report.waiting, "snapshot")
        )
    });
    let left = (report.left.objects > 0 && !options.deletes).then(|| {
        format!(
            "{} there, {}, that the source no longer has: delete them with --delete",
            count(report.left.objects, "object"),
            size(report.left.bytes)
        )
    });
    let kept = (options.deletes && !report.damaged.is_empty())
        .then(|| "nothing was deleted there, because the source is damaged".to_string());
    let mended = report.mended.iter().map(|name| format!("{name} was damaged in the mirror, and is whole again"));
    let damaged = report.damaged.iter().map(|(object, why)| format!("{object} was not sent: {why}"));
    let outcome = outcome.with_notes(waiting).with_notes(left).with_warnings(mended).with_warnings(damaged);
    Ok(outcome.with_warnings(kept).with_damage(!report.damaged.is_empty()))
}

/// The second place, made where it is a directory that does not exist; `None`: it does not, and is not to be made.
fn open(second: &Second, is_dry: bool) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let intent = match second.location {
        Location::Local(_) if !is_dry => Intent::Create,
        _ => Intent::Existing,
    };
    match store::open_with(&second.location, intent, &second.settings) {
        Err(StoreError::Location { .. }) if is_dry && matches!(second.location, Location::Local(_)) => Ok(None),
        other => Ok(Some(other?)),
    }
}

fn text(report: &Report, to: &Location, options: &Options) -> String {
    let Report { sent, there, deleted, .. } = report;
    let (send, delete) = if options.is_dry { ("would send", "would delete") } else { ("sent", "deleted") };
    let mut text = format!(
        "repository {} in {}\n{send} {}, {}; {} there already\n",
        report.repository,
        plain(&to.to_string()),
        count(sent.objects, "object"),
        size(sent.bytes),
        count(there.objects, "object")
    );
    if options.deletes {
        text.push_str(&format!("{delete} {}, {}\n", count(deleted.objects, "object"), size(deleted.bytes)));
    }
    text
}
