//! One vector, and its fields as Rust values. Bytes are hexadecimal.

use std::fmt::{Debug, Display};

use redkeep::format::Malformed;
use serde_json::{Value, json};

use crate::support::mini_writer::hex;

/// Fields of a vector or of a structure inside it.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'v>(pub &'v Value);

impl<'v> Fields<'v> {
    /// A field that has to be there.
    pub fn get(self, name: &str) -> &'v Value {
        self.maybe(name).unwrap_or_else(|| panic!("no field {name:?} in {}", self.0))
    }

    pub fn maybe(self, name: &str) -> Option<&'v Value> {
        self.0.get(name)
    }

    pub fn text(self, name: &str) -> &'v str {
        self.get(name).as_str().unwrap_or_else(|| panic!("{name:?} is no text"))
    }

    pub fn number(self, name: &str) -> u64 {
        self.get(name).as_u64().unwrap_or_else(|| panic!("{name:?} is no number"))
    }

    /// A number that fits where redkeep keeps it.
    pub fn small<T: TryFrom<u64, Error: Debug>>(self, name: &str) -> T {
        self.number(name).try_into().unwrap()
    }

    pub fn flag(self, name: &str) -> bool {
        self.get(name).as_bool().unwrap()
    }

    pub fn bytes(self, name: &str) -> Vec<u8> {
        bytes(self.get(name))
    }

    pub fn array<const N: usize>(self, name: &str) -> [u8; N] {
        array(self.get(name))
    }

    pub fn list(self, name: &str) -> &'v [Value] {
        self.get(name).as_array().unwrap_or_else(|| panic!("{name:?} is no array"))
    }

    /// The structures of an array.
    pub fn structures(self, name: &str) -> impl Iterator<Item = Fields<'v>> {
        self.list(name).iter().map(Fields)
    }
}

/// Bytes from hexadecimal.
pub fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no hexadecimal"));
    assert!(text.len().is_multiple_of(2), "{text} is no hexadecimal");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap_or_else(|_| panic!("{value} has not {N} bytes"))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().into()
}

/// One vector: redkeep makes `out` of `in`, or refuses `in`.
pub struct Vector {
    pub name: String,
    pub kind: String,
    pub rules: Vec<String>,
    input: Value,
    output: Option<Value>,
}

impl Vector {
    pub fn new(chapter: &str, value: Value) -> Vector {
        let fields = Fields(&value);
        let (output, refused) = (fields.maybe("out").cloned(), fields.maybe("refused").is_some());
        assert!(output.is_none() == refused, "{chapter}: either out, or refused: {value}");
        let rules = fields.list("rules").iter().map(text).collect();
        Vector {
            name: format!("{chapter}: {}", fields.text("name")),
            kind: fields.text("kind").into(),
            rules,
            input: fields.get("in").clone(),
            output,
        }
    }

    pub fn input(&self) -> Fields<'_> {
        Fields(&self.input)
    }

    /// `out`, unless the vector is to be refused.
    pub fn output(&self) -> Option<Fields<'_>> {
        self.output.as_ref().map(Fields)
    }

    /// Holds redkeep's answer against `out` or `refused`.
    pub fn answer<E: Display>(&self, answer: Result<Value, E>) -> Result<(), String> {
        match (answer, &self.output) {
            (Ok(answer), Some(output)) if answer == *output => Ok(()),
            (Err(_), None) => Ok(()),
            (Ok(answer), Some(output)) => Err(format!("{}: {answer} instead of {output}", self.name)),
            (Ok(answer), None) => Err(format!("{}: not refused: {answer}", self.name)),
            (Err(error), Some(_)) => Err(format!("{}: refused: {error}", self.name)),
        }
    }

    /// A structure's two directions: fields to `bytes`, and back; or `bytes` that are refused.
    pub fn codec<T: PartialEq + Debug>(
        &self,
        build: impl Fn(Fields<'_>) -> T,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(), String> {
        let Some(output) = self.output() else {
            return self.answer(decode(&self.input().bytes("bytes")).map(|value| json!(format!("{value:?}"))));
        };
        let value = build(self.input());
        self.answer(Ok::<_, String>(json!({ "bytes": hex(&encode(&value)) })))?;
        match decode(&output.bytes("bytes")) {
            Ok(decoded) if decoded == value => Ok(()),
            other => Err(format!("{}: decoded to {other:?}", self.name)),
        }
    }
}
