//! What `key` answers.

use serde::Serialize;

use crate::cli::time::exact;
use crate::format::keys::SecretKind;
use crate::repository::SlotInfo;

/// `key list`.
#[derive(Serialize)]
pub(crate) struct Slots {
    pub slots: Vec<Slot>,
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
        }
    }
}

/// `key add`, `key remove` and `key passwd`.
#[derive(Serialize)]
pub(crate) struct KeyChange {
    pub added: Option<String>,
    pub removed: Option<String>,
}
