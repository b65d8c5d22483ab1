//! What the `key` commands answer with `--json`.

use serde::Serialize;

use super::exact;
use crate::format::keys::SecretKind;
use crate::repository::{SlotInfo, SlotState};

/// `key list`.
#[derive(Serialize)]
pub(crate) struct Slots {
    pub slots: Vec<Slot>,
    pub epoch: u32,
}

/// One key slot.
#[derive(Serialize)]
pub(crate) struct Slot {
    id: String,
    kind: &'static str,
    label: Option<String>,
    created: Option<String>,
    host: Option<String>,
    current: bool,
    epoch: Option<u32>,
    state: &'static str,
}

impl From<&SlotInfo> for Slot {
    fn from(slot: &SlotInfo) -> Slot {
        Slot {
            id: slot.id.to_string(),
            kind: match slot.secret {
                Some(SecretKind::Password) => "password",
                Some(SecretKind::KeyFile) => "key_file",
                None => "damaged",
            },
            label: slot.label.clone(),
            created: slot.created.map(exact),
            host: slot.host.clone(),
            current: slot.current,
            epoch: slot.epoch,
            state: match slot.state {
                SlotState::Current => "current",
                SlotState::Behind => "behind",
                SlotState::Unfinished => "unfinished",
                SlotState::Damaged => "damaged",
            },
        }
    }
}

/// `key add`, `key remove` and `key passwd`.
#[derive(Serialize, Default)]
pub(crate) struct Change {
    pub added: Option<String>,
    pub removed: Option<String>,
    pub recovery_key: Option<String>,
}

/// `key rotate`.
#[derive(Serialize)]
pub(crate) struct Rotated {
    pub epoch: u32,
    pub added: Vec<String>,
    pub removed: Vec<String>,
}
