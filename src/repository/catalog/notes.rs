//! Notes in the catalog: the opened bytes of each, so that every opening reads only new ones.

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::Catalog;
use crate::format::Id16;
use crate::format::note::Note;
use crate::format::object::Name;
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

impl Catalog {
    /// All notes, by id.
    pub fn notes(&self) -> Result<Vec<(Id16, Note)>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT name, body, sum FROM notes ORDER BY name")?;
            let mut rows = query.query([])?;
            let mut notes = Vec::new();
            while let Some(row) = rows.next()? {
                sqlite::check_sum(row, 2)?;
                let note = Note::decode(row.get_ref(1)?.as_blob()?);
                let note = note.map_err(|malformed| sqlite::corrupt(malformed.to_string()))?;
                let Some(Name::Note(id)) = Name::parse(&row.get::<_, String>(0)?) else {
                    return Err(sqlite::corrupt("a note under a name that is none".into()));
                };
                notes.push((id, note));
            }
            Ok(notes)
        })
    }

    /// Adds the opened bytes of notes, and drops those that are no longer listed.
    pub fn change_notes(&mut self, gone: &[Id16], new: &[(Id16, Vec<u8>)]) -> Result<(), RepositoryError> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut delete = transaction.prepare("DELETE FROM notes WHERE name = ?1")?;
            gone.iter().try_for_each(|id| delete.execute([Name::Note(*id).to_string()]).map(drop))?;
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3)")?;
            new.iter().try_for_each(|(id, body)| {
                let name = Name::Note(*id).to_string();
                let sum = sqlite::sum([ValueRef::from(&*name), ValueRef::Blob(body)]);
                insert.execute(params![name, body, sum]).map(drop)
            })
        })
    }
}
