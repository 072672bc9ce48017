//! A value as a source of what serde reads, with errors that say where.

use super::node::{Entry, Node, Value};
use serde::{
    Deserialize, Deserializer,
    de::{
        self, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use std::{fmt, ops::Range};

impl Node {
    /// Reads a type from the value; the error is where and why not.
    pub(in crate::rules) fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, (usize, String)> {
        T::deserialize(Read(self)).map_err(|error| (error.at.unwrap_or(self.at.start), error.message))
    }
}

/// Why a value is not of the type, and where: at the innermost of the values that were being read.
#[derive(Debug)]
struct ReadError {
    at: Option<usize>,
    message: String,
}

impl ReadError {
    fn or_at(self, at: &Range<usize>) -> Self {
        Self { at: self.at.or(Some(at.start)), ..self }
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: None, message: message.to_string() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

struct Read<'n>(&'n Node);

struct ReadName<'n>(&'n Entry);

impl<'de> Deserializer<'de> for Read<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let read = match &self.0.value {
            Value::Flag(flag) => visitor.visit_bool(*flag),
            Value::Whole(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_i128(*number),
            },
            Value::Fraction(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(nodes) => visitor.visit_seq(SeqDeserializer::new(nodes.iter().map(Read))),
            Value::Table(entries) => visitor
                .visit_map(MapDeserializer::new(entries.iter().map(|entry| (ReadName(entry), Read(&entry.node))))),
            Value::Other(kind) => Err(de::Error::invalid_type(de::Unexpected::Other(kind), &visitor)),
        };
        read.map_err(|error| error.or_at(&self.0.at))
    }

    /// What is written is there.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for ReadName<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_str(&self.0.name).map_err(|error: ReadError| error.or_at(&self.0.at))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Read<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for ReadName<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
