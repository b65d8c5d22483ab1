//! Parts of a value are handed on in the order of the file.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::packed::{Elements, each_of_zipmap};
use super::raw::{Raw, Read};
use super::rows::Rows;
use super::stream::{Coding, each_of};
use super::templates::Templates;
use super::{Item, Unreadable, Value, score};
use crate::rdb::header::Family;
use crate::rdb::structure::Module;

/// Why handing on ends early.
pub(super) enum Stop {
    /// Whoever is given the parts wants no more.
    Told,
    Unreadable(Unreadable),
}

impl From<Unreadable> for Stop {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

pub(super) type Step = Result<(), Stop>;

/// Who is given the parts.
pub(super) struct Taker<'t>(&'t mut dyn FnMut(Item<'_>) -> ControlFlow<()>);

impl<'t> Taker<'t> {
    pub(super) fn of(give: &'t mut dyn FnMut(Item<'_>) -> ControlFlow<()>) -> Taker<'t> {
        Taker(give)
    }

    pub(super) fn give(&mut self, item: Item<'_>) -> Step {
        match (self.0)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Told),
        }
    }
}

type Give<'g> = &'g mut dyn FnMut(Item<'_>) -> ControlFlow<()>;

pub(super) fn each(value: &Value<'_>, give: Give<'_>) -> Read<()> {
    let (mut raw, mut taker) = (Raw::of(value.raw), Taker(give));
    let ended = parts(value, &mut raw, &mut taker).and_then(|()| Ok(raw.end()?));
    answer(ended)
}

pub(super) fn each_of_stream(value: &Value<'_>, give: Give<'_>) -> Read<()> {
    let Some(coding) = Coding::of(value.type_byte, value.family) else {
        return Err(Unreadable::Unknown("it is no stream".to_owned()));
    };
    let (mut raw, mut taker) = (Raw::of(value.raw), Taker(give));
    let ended = each_of(&mut raw, coding, false, &mut taker).and_then(|()| Ok(raw.end()?));
    answer(ended)
}

pub(super) fn answer(ended: Step) -> Read<()> {
    match ended {
        Ok(()) | Err(Stop::Told) => Ok(()),
        Err(Stop::Unreadable(unreadable)) => Err(unreadable),
    }
}

fn parts(value: &Value<'_>, raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
    if let Some(coding) = Coding::of(value.type_byte, value.family) {
        return each_of(raw, coding, true, taker);
    }
    if let Some(rows) = Rows::of(value.type_byte, value.family) {
        let head = rows.head(raw)?;
        for _ in 0..head.rows {
            rows.give(head, raw, taker)?;
        }
        return Ok(());
    }
    match (value.type_byte, value.family) {
        (0, _) => taker.give(Item::Text(&raw.string()?)),
        (7, _) => module(raw, taker),
        (9, _) => each_of_zipmap(&raw.string()?, |name, value| taker.give(Item::Field { name, value, expires: None })),
        (10, _) => elements(Elements::of_ziplist(&raw.string()?)?, taker),
        (11, _) => elements(Elements::of_intset(&raw.string()?)?, taker),
        (12, _) => members(Elements::of_ziplist(&raw.string()?)?, taker),
        (13, _) => fields(Elements::of_ziplist(&raw.string()?)?, taker),
        (16, _) => fields(Elements::of_listpack(&raw.string()?)?, taker),
        (17, _) => members(Elements::of_listpack(&raw.string()?)?, taker),
        (20, _) => elements(Elements::of_listpack(&raw.string()?)?, taker),
        (23, Family::Redis) => expiring_fields(Elements::of_listpack(&raw.string()?)?, taker),
        (23, Family::Valkey) => counted(raw, |raw| {
            taker.give(Item::Path(&raw.string()?))?;
            counted(raw, |raw| plain_field(raw, taker))
        }),
        (25, Family::Redis) => {
            raw.bytes::<8>()?;
            expiring_fields(Elements::of_listpack(&raw.string()?)?, taker)
        }
        (28, Family::Redis) => array(raw, taker),
        (30, Family::Redis) => packed_of_template(&raw.string()?, value.templates, taker),
        (32, Family::Redis) => {
            let number = raw.length()?;
            for name in value.templates.need(number)? {
                taker.give(Item::Field { name, value: &raw.string()?, expires: None })?;
            }
            Ok(())
        }
        (other, _) => Err(Unreadable::Unknown(format!("a value of type {other}")).into()),
    }
}

fn counted(raw: &mut Raw<'_>, mut each: impl FnMut(&mut Raw<'_>) -> Step) -> Step {
    for _ in 0..raw.length()? {
        each(raw)?;
    }
    Ok(())
}

pub(super) fn elements(elements: Elements<'_>, taker: &mut Taker<'_>) -> Step {
    for element in elements {
        taker.give(Item::Element(&element?.text()))?;
    }
    Ok(())
}

fn members(mut elements: Elements<'_>, taker: &mut Taker<'_>) -> Step {
    while let Some(member) = elements.next() {
        let (member, score) = (member?.text(), score::of_packed(elements.need()?)?);
        taker.give(Item::Member { member: &member, score })?;
    }
    Ok(())
}

fn fields(mut elements: Elements<'_>, taker: &mut Taker<'_>) -> Step {
    while let Some(name) = elements.next() {
        let (name, value) = (name?.text(), elements.need()?.text());
        taker.give(Item::Field { name: &name, value: &value, expires: None })?;
    }
    Ok(())
}

/// Names, values and when they go; 0 for those that stay.
fn expiring_fields(mut elements: Elements<'_>, taker: &mut Taker<'_>) -> Step {
    while let Some(name) = elements.next() {
        let (name, value, expires) = (name?.text(), elements.need()?.text(), elements.need()?.number()?);
        let expires = u64::try_from(expires).ok().filter(|expires| *expires != 0);
        taker.give(Item::Field { name: &name, value: &value, expires })?;
    }
    Ok(())
}

pub(super) fn plain_field(raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
    let (name, value) = (raw.string()?, raw.string()?);
    taker.give(Item::Field { name: &name, value: &value, expires: None })
}

/// The number of a template, and values for its fields.
fn packed_of_template(blob: &[u8], templates: &Templates, taker: &mut Taker<'_>) -> Step {
    let mut elements = Elements::of_listpack(blob)?;
    for name in template_of(&mut elements, templates)? {
        taker.give(Item::Field { name, value: &elements.need()?.text(), expires: None })?;
    }
    Ok(end_of(&mut elements)?)
}

/// The names of the fields whose values follow.
pub(super) fn template_of<'n>(elements: &mut Elements<'_>, templates: &'n Templates) -> Read<&'n [Vec<u8>]> {
    let number = elements.need()?.number()?;
    templates.need(u64::try_from(number).map_err(|_| Unreadable::Broken("a template below 0"))?)
}

pub(super) fn end_of(elements: &mut Elements<'_>) -> Read<()> {
    match elements.next() {
        None => Ok(()),
        Some(Err(unreadable)) => Err(unreadable),
        Some(Ok(_)) => Err(Unreadable::Broken("a hash has more values than its template has fields")),
    }
}

/// Elements, perhaps where the next one goes, and each element behind its index.
fn array(raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
    let elements = raw.length()?;
    match raw.length()? {
        0 => {}
        1 => drop(raw.length()?),
        other => return Err(Unreadable::Unknown(format!("an array of form {other}")).into()),
    }
    for _ in 0..elements {
        let index = raw.length()?;
        let element = match raw.length()? {
            0 | 3 => raw.string()?,
            1 => Cow::Owned(i64::from_le_bytes(raw.bytes()?).to_string().into_bytes()),
            2 => Cow::Owned(score::score_text(f64::from_le_bytes(raw.bytes()?)).into_bytes()),
            other => return Err(Unreadable::Unknown(format!("an array's element of form {other}")).into()),
        };
        taker.give(Item::Placed { index, element: &element })?;
    }
    Ok(())
}

fn module(raw: &mut Raw<'_>, taker: &mut Taker<'_>) -> Step {
    let module = Module::from_id(raw.length()?);
    while let Some(_part) = module_part(raw)? {}
    taker.give(Item::Module(&module))
}

/// A part of what a module wrote.
pub(super) enum Part {
    /// A number without sign.
    Number(u64),
    /// Something else.
    Other,
}

/// Consumes a part of what a module wrote; `None` is the end.
pub(super) fn module_part(raw: &mut Raw<'_>) -> Read<Option<Part>> {
    match raw.length()? {
        0 => return Ok(None),
        2 => return raw.length().map(Part::Number).map(Some),
        1 => drop(raw.length()?),
        3 => drop(raw.bytes::<4>()?),
        4 => drop(raw.bytes::<8>()?),
        5 => raw.skip_string()?,
        other => return Err(Unreadable::Unknown(format!("a module part of form {other}"))),
    }
    Ok(Some(Part::Other))
}
