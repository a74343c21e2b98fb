//! JSON text → types that derive `Deserialize`, in less code than serde_json takes.
//!
//! serde_json writes its parser, and the reading of a struct from an array, once more into the reader of every type:
//! a quarter of the Worker. Here the parser stands apart ([`Text`]) and a struct is an object. What is read is the same
//! otherwise; `tests` compares the two.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Number;

pub use super::text::Malformed;
use super::text::Text;

#[cfg(test)]
mod tests;

/// The name by which serde_json's `RawValue` asks for a value's own text. serde_json's version is pinned, and a test
/// reads one.
const RAW: &str = "$serde_json::private::RawValue";

/// Reads one value and nothing after it.
///
/// # Errors
/// The text is no JSON or not of this type.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Malformed> {
    let mut text = Text::new(text);
    let value = T::deserialize(&mut text);
    value
        .and_then(|value| text.end().map(|()| value))
        .map_err(|fault| fault.at(text.offset()))
}

/// [`read`] for bytes, which must be UTF-8.
///
/// # Errors
/// As [`read`].
pub fn read_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Malformed> {
    read(str::from_utf8(bytes).map_err(|_| Malformed::new("no UTF-8"))?)
}

impl Error for Malformed {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::about("refused:", message.to_string())
    }

    // Without what was found and what is expected: both take code in the reader of every type.
    #[cold]
    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("a value of another type is expected")
    }

    #[cold]
    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("another value is expected")
    }

    #[cold]
    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::new("another number of elements is expected")
    }

    #[cold]
    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::about("unknown variant", variant.to_owned())
    }

    #[cold]
    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::about("unknown field", field.to_owned())
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::about("missing field", field.to_owned())
    }

    #[cold]
    fn duplicate_field(field: &'static str) -> Self {
        Self::about("duplicate field", field.to_owned())
    }
}

impl<'de> Text<'de> {
    fn read_number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        visit_number(&self.number()?, visitor)
    }

    fn read_text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn read_flag<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        let flag = self.peek() == b't';
        self.word(if flag { "true" } else { "false" })?;
        visitor.visit_bool(flag)
    }

    fn read_null<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        self.word("null")?;
        visitor.visit_unit()
    }

    fn read_list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        self.enter(b'[')?;
        let value = visitor.visit_seq(Elements {
            text: self,
            first: true,
        })?;
        self.leave(b']')?;
        Ok(value)
    }

    fn read_object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Malformed> {
        self.enter(b'{')?;
        let value = visitor.visit_map(Elements {
            text: self,
            first: true,
        })?;
        self.leave(b'}')?;
        Ok(value)
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Malformed> {
    if let Some(number) = number.as_u64() {
        visitor.visit_u64(number)
    } else if let Some(number) = number.as_i64() {
        visitor.visit_i64(number)
    } else {
        visitor.visit_f64(number.as_f64().unwrap_or_default())
    }
}

/// One method for each of serde's kinds that are read the same way.
macro_rules! read_as {
    ($how:ident: $($kind:ident)*) => {
        $(fn $kind<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
            self.$how(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Text<'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        match self.peek() {
            b'"' => self.read_text(visitor),
            b'{' => self.read_object(visitor),
            b'[' => self.read_list(visitor),
            b'n' => self.read_null(visitor),
            b't' | b'f' => self.read_flag(visitor),
            _ => self.read_number(visitor),
        }
    }

    read_as!(read_flag: deserialize_bool);
    read_as!(read_number: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
        deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64);
    read_as!(read_text: deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf);
    read_as!(read_null: deserialize_unit);
    read_as!(read_list: deserialize_seq);
    read_as!(read_object: deserialize_map);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.peek() == b'n' {
            self.word("null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.read_null(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        if name == RAW {
            return visitor.visit_map(Raw {
                text: self.skip()?,
                told: false,
            });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.read_list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.read_list(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.read_object(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let object = self.peek() == b'{';
        if object {
            self.enter(b'{')?;
        }
        let value = visitor.visit_enum(Variant { text: self, object })?;
        if object {
            self.leave(b'}')?;
        }
        Ok(value)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_str(&self.string()?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// The elements of an array, or the fields of an object.
struct Elements<'a, 'de> {
    text: &'a mut Text<'de>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Malformed;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Malformed> {
        if !self.text.more(b']', &mut self.first)? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.text).map(Some)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Malformed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Malformed> {
        if !self.text.more(b'}', &mut self.first)? {
            return Ok(None);
        }
        seed.deserialize(Key(self.text)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Malformed> {
        self.text.take(b':')?;
        seed.deserialize(&mut *self.text)
    }
}

/// The name of a field: a text, also where the map has numbers as keys.
struct Key<'a, 'de>(&'a mut Text<'de>);

impl<'de> Key<'_, 'de> {
    fn read_number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        let number = self.0.string()?.parse::<Number>();
        visit_number(
            &number.map_err(|_| Malformed::new("a name that is a number is expected"))?,
            visitor,
        )
    }
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.0.read_text(visitor)
    }

    read_as!(read_number: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
        deserialize_i32 deserialize_i64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        visitor.visit_enum(Variant {
            text: self.0,
            object: false,
        })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_str(&self.0.string()?)
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}

/// A variant: a text when it holds nothing, else an object with one field.
struct Variant<'a, 'de> {
    text: &'a mut Text<'de>,
    object: bool,
}

impl<'de> Variant<'_, 'de> {
    fn must_be_object(&self) -> Result<(), Malformed> {
        if self.object {
            Ok(())
        } else {
            Err(Malformed::new("a variant with content is expected"))
        }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Malformed;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Malformed> {
        let variant = seed.deserialize(Key(self.text))?;
        if self.object {
            self.text.take(b':')?;
        }
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Malformed;

    fn unit_variant(self) -> Result<(), Malformed> {
        if self.object {
            self.text.word("null")?;
        }
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Malformed> {
        self.must_be_object()?;
        seed.deserialize(self.text)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Malformed> {
        self.must_be_object()?;
        self.text.read_list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.must_be_object()?;
        self.text.read_object(visitor)
    }
}

/// A value's own text, in the form of an object with one field, as serde_json has it.
struct Raw<'de> {
    text: &'de str,
    told: bool,
}

impl<'de> MapAccess<'de> for Raw<'de> {
    type Error = Malformed;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Malformed> {
        if std::mem::replace(&mut self.told, true) {
            return Ok(None);
        }
        seed.deserialize(Borrowed(RAW)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Malformed> {
        seed.deserialize(Borrowed(self.text))
    }
}

struct Borrowed<'de>(&'de str);

impl<'de> Deserializer<'de> for Borrowed<'de> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_borrowed_str(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
