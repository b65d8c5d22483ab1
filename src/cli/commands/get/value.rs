//! A value as text and as JSON, an element after the other: all of a large one as JSON values would take ten times as much.

use std::ops::ControlFlow;

use serde::ser::{Error as _, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Value as Json, json};

use crate::cli::human::shown;
use crate::cli::json::text;
use crate::cli::time;
use crate::format::UnixMillis;
use crate::operations::look_up::Held;
use crate::rdb::Kind;
use crate::rdb::values::{Item, score_text};

/// A line for each element.
pub(super) fn as_text(held: &Held) -> anyhow::Result<String> {
    let is_stream = held.value().kind() == Some(Kind::Stream);
    let mut lines = String::new();
    held.value().each(&mut |item| {
        match item {
            Item::Text(string) => lines.push_str(&string_as_text(string)),
            Item::Field { name, value, .. } if is_stream => {
                // Of the entry before, whose line is not ended.
                lines.pop();
                lines.push_str(&format!(" {} {}", shown(name), shown(value)));
            }
            Item::Element(element) => lines.push_str(&shown(element)),
            Item::Member { member, score } => lines.push_str(&format!("{} {}", score_text(score), shown(member))),
            Item::Field { name, value, expires } => {
                lines.push_str(&format!("{} {}", shown(name), shown(value)));
                if let Some(moment) = expires {
                    lines.push_str(&format!(" (expires {})", time::show(UnixMillis(moment))));
                }
            }
            Item::Path(path) => lines.push_str(&format!("{}:", shown(path))),
            Item::Placed { index, element } => lines.push_str(&format!("{index} {}", shown(element))),
            Item::Entry { id, .. } => lines.push_str(&id.to_string()),
            Item::Group(group) => lines.push_str(&format!("group {}", shown(group.name))),
            Item::Module(module) => {
                lines = format!("a value that only the module {} can read", shown(module.name.as_bytes()));
            }
            Item::Stream(_) | Item::Consumer(_) => return ControlFlow::Continue(()),
        }
        lines.push('\n');
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

/// As it is, where that does nothing to a terminal.
fn string_as_text(string: &[u8]) -> String {
    let is_seen = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    match str::from_utf8(string) {
        Ok(lines) if lines.chars().all(is_seen) => lines.to_owned(),
        _ => shown(string),
    }
}

/// The groups of a stream; `None` of anything else.
pub(super) fn groups(held: &Held) -> anyhow::Result<Option<Vec<Json>>> {
    if held.value().kind() != Some(Kind::Stream) {
        return Ok(None);
    }
    let mut groups = Vec::new();
    held.value().each(&mut |item| {
        if let Item::Group(group) = item {
            groups.push(json!({"name": text(group.name)}));
        }
        ControlFlow::Continue(())
    })?;
    Ok(Some(groups))
}

/// The fields of an object, and the value of a key as one more.
pub(super) struct WithValue<'h> {
    fields: &'h Json,
    held: &'h Held,
}

impl<'h> WithValue<'h> {
    /// Of a value that can be read to its end.
    pub(super) fn of(fields: &'h Json, held: &'h Held) -> anyhow::Result<WithValue<'h>> {
        held.value().each(&mut |_| ControlFlow::Continue(()))?;
        Ok(WithValue { fields, held })
    }
}

impl Serialize for WithValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (name, field) in self.fields.as_object().into_iter().flatten() {
            object.serialize_entry(name, field)?;
        }
        object.serialize_entry("value", &Elements(self.held))?;
        object.end()
    }
}

struct Elements<'h>(&'h Held);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.value();
        if let Some(Kind::String | Kind::Module) = value.kind() {
            let mut string = Json::Null;
            let read = value.each(&mut |item| {
                if let Item::Text(bytes) = item {
                    string = text(bytes);
                }
                ControlFlow::Continue(())
            });
            read.map_err(S::Error::custom)?;
            return string.serialize(serializer);
        }
        let mut elements = serializer.serialize_seq(None)?;
        let (mut entry, mut written) = (None, Ok(()));
        let read = value.each(&mut |item| {
            if let (Some(entry), Item::Field { name, value, .. }) = (&mut entry, &item) {
                add_field(entry, name, value);
                return ControlFlow::Continue(());
            }
            let Some(element) = element(&item) else { return ControlFlow::Continue(()) };
            // An entry waits for its fields.
            let is_entry = matches!(item, Item::Entry { .. });
            let whole = if is_entry { entry.replace(element) } else { Some(element) };
            written = whole.map_or(Ok(()), |whole| elements.serialize_element(&whole));
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        read.map_err(S::Error::custom)?;
        written?;
        if let Some(last) = entry {
            elements.serialize_element(&last)?;
        }
        elements.end()
    }
}

fn add_field(entry: &mut Json, name: &[u8], value: &[u8]) {
    if let Some(Json::Array(fields)) = entry.get_mut("fields") {
        fields.push(json!([text(name), text(value)]));
    }
}

fn element(item: &Item<'_>) -> Option<Json> {
    Some(match item {
        Item::Element(element) => text(element),
        Item::Member { member, score } => json!({"member": text(member), "score": score_text(*score)}),
        Item::Field { name, value, expires } => {
            let expires = expires.map(|moment| time::exact(UnixMillis(moment)));
            json!({"field": text(name), "value": text(value), "expires": expires})
        }
        Item::Path(path) => json!({"path": text(path)}),
        Item::Placed { index, element } => json!({"index": index, "value": text(element)}),
        Item::Entry { id, .. } => json!({"id": id.to_string(), "fields": []}),
        Item::Text(_) | Item::Group(_) | Item::Module(_) | Item::Stream(_) | Item::Consumer(_) => return None,
    })
}
