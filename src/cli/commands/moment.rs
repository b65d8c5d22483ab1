//! The snapshot, or the moment, that look-ups of keys are asked for.

use clap::Args;

use super::pick;
use crate::cli::args::OfDataset;
use crate::cli::context::Context;
use crate::cli::exit::Hinted;
use crate::cli::{selector, time};
use crate::format::UnixMillis;
use crate::operations::OperationError;
use crate::operations::list::{Chosen, Selector};
use crate::operations::restore::{Cut, Which, locate, settled};
use crate::operations::timeline::{self, Picked, Wish};
use crate::repository::Repository;

/// SNAPSHOT, or --at TIME.
#[derive(Debug, Args)]
pub(super) struct OneMoment {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME [default: latest]
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT")]
    snapshot: Option<Selector>,
    /// What was there at this moment, which an AOF of the snapshot covers
    #[arg(long, value_name = "TIME", value_parser = time::parse_now, conflicts_with = "snapshot")]
    at: Option<UnixMillis>,
    /// Where no snapshot covers TIME, take the nearest moment before it
    #[arg(long, requires = "at")]
    nearest: bool,
    /// What is the dataset, where a snapshot holds several: aof, rdb, or the path of a manifest, an AOF or a dump in it
    #[arg(long, value_name = "WHICH", conflicts_with = "at")]
    from: Option<Which>,
    #[command(flatten)]
    of: OfDataset,
}

/// The snapshot that is asked.
pub(super) struct Asked {
    pub chosen: Chosen,
    /// Where the moment that is asked for ends in its AOF.
    pub until: Option<Cut>,
    /// The time of it.
    pub moment: Option<String>,
}

impl OneMoment {
    /// Chooses it. A moment is told as it was understood.
    pub fn choose(&self, repository: &Repository, context: &Context) -> anyhow::Result<Asked> {
        let dataset = self.of.dataset.as_deref();
        let Some(at) = self.at else {
            let chosen = pick(context, repository, self.snapshot.as_ref().unwrap_or(&Selector::Latest(0)), dataset)?;
            let chosen = match &self.from {
                Some(which) => settled(repository, &chosen, which, &context.progress)?,
                None => chosen,
            };
            return Ok(Asked { chosen, until: None, moment: None });
        };
        let wish = Wish { at, snapshot: None, dataset, nearest: self.nearest };
        let Picked { chosen, moment, goal } = timeline::pick(repository, &wish).map_err(|error| match error {
            OperationError::Unreachable { before: None, is_damaged: false, .. } => {
                let hint =
                    "@TIME in place of --at shows the last snapshot captured at or before it, where there is one";
                Hinted::new(error, hint).into()
            }
            error => anyhow::Error::from(error),
        })?;
        let locate = |goal| locate(repository, &chosen.snapshot, &goal, &context.progress);
        let until = goal.map(locate).transpose()?;
        let effective = time::of_host(moment.effective, moment.clock);
        let nearest = if moment.is_nearest { ", the nearest before the asked one" } else { "" };
        context.note(&format!("the state of {}{nearest}", time::show(effective)));
        Ok(Asked { chosen, until, moment: Some(time::exact(effective)) })
    }
}
