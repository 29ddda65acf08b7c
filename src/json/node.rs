//! Implements the `jsonschema` representation for [`Json`], so that schemas validate it without a
//! copy.

use std::{borrow::Cow, ptr, slice};

use jsonschema::{
    JsonType,
    json::{Array, Json as Representation, Node, NodeIdentity, Object, cmp},
};
use serde_json::{Map, Number, Value};

use super::Json;

/// The representation for `jsonschema::options_for::<JsonTree>()`.
#[derive(Clone, Copy, Debug)]
pub struct JsonTree;

type JsonMember<'a> = (Cow<'a, str>, Json<'a>);

impl Representation for JsonTree {
    type Node<'a> = &'a Json<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = Json<'static>;

    // A lookup scans the members, so one pass replaces several lookups.
    const KEYS_PER_LOOKUP: usize = 4;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>(
        buffer: &mut Json<'static>,
        string: &str,
        f: impl for<'n> FnOnce(&'n Json<'n>) -> T,
    ) -> T {
        *buffer = Json::String(Cow::Owned(string.to_owned()));
        f(buffer)
    }
}

impl<'a> Node<'a, JsonTree> for &'a Json<'a> {
    type Object = &'a [JsonMember<'a>];
    type Array = &'a [Json<'a>];
    type Number = &'a Number;

    fn as_object(&self) -> Option<&'a [JsonMember<'a>]> {
        if let Json::Object(members) = self { Some(members) } else { None }
    }

    fn as_array(&self) -> Option<&'a [Json<'a>]> {
        if let Json::Array(elements) = self { Some(elements) } else { None }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        if let Json::String(text) = *self { Some(Cow::Borrowed(text)) } else { None }
    }

    fn as_number(&self) -> Option<&'a Number> {
        if let Json::Number(number) = self { Some(number) } else { None }
    }

    fn as_boolean(&self) -> Option<bool> {
        Json::as_bool(self)
    }

    fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Json::Null => JsonType::Null,
            Json::Bool(_) => JsonType::Boolean,
            Json::Number(_) => JsonType::Number,
            Json::String(_) => JsonType::String,
            Json::Array(_) => JsonType::Array,
            Json::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self, expected) {
            (Json::String(ours), Value::String(theirs)) => ours == theirs,
            _ => cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(to_serde_value(self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(ptr::from_ref::<Json<'_>>(self).addr()))
    }
}

impl<'a> Object<'a, JsonTree> for &'a [JsonMember<'a>] {
    type Node = &'a Json<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        <[JsonMember<'_>]>::len(self)
    }

    fn get(&self, key: &Box<str>) -> Option<&'a Json<'a>> {
        self.iter().find(|(name, _)| **name == **key).map(|(_, value)| value)
    }

    fn members(&self) -> Members<'a> {
        Members(self.iter())
    }
}

impl<'a> Array<'a, JsonTree> for &'a [Json<'a>] {
    type Node = &'a Json<'a>;
    type ElementsIter = slice::Iter<'a, Json<'a>>;

    fn len(&self) -> usize {
        <[Json<'_>]>::len(self)
    }

    fn elements(&self) -> slice::Iter<'a, Json<'a>> {
        self.iter()
    }
}

/// The members of an object, in text order.
#[derive(Clone, Debug)]
pub struct Members<'a>(slice::Iter<'a, JsonMember<'a>>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }
}

// The recursion is bounded, because the depth of a tree is.
fn to_serde_value(value: &Json<'_>) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Number(number.clone()),
        Json::String(text) => Value::String(text.to_string()),
        Json::Array(elements) => Value::Array(elements.iter().map(to_serde_value).collect()),
        Json::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.to_string(), to_serde_value(value)))
                .collect::<Map<_, _>>(),
        ),
    }
}
