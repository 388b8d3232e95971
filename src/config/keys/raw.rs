//! Values as written, with their places. A TOML tree and the parameters of a URL look the same from here on.

use std::{borrow::Cow, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::config::{misfit::Found, source::Place};

/// The keys of one table as written.
pub(in crate::config) type Table<'a> = Vec<Row<'a>>;

/// A key, its place and its value.
pub(in crate::config) struct Row<'a> {
    pub(in crate::config) name: Cow<'a, str>,
    pub(in crate::config) key_at: Place,
    pub(in crate::config) raw: Raw<'a>,
}

/// A value that nothing has interpreted yet.
#[derive(Clone)]
pub(in crate::config) struct Raw<'a> {
    pub(in crate::config) at: Place,
    node: Node<'a>,
}

#[derive(Clone)]
enum Node<'a> {
    /// A value of TOML, and the source that holds it.
    Toml(&'a DeValue<'a>, &'a str),
    /// Of a URL: decoded, and of the kind that its key takes.
    Text(String),
    Integer(String),
    Switch(bool),
    List(Vec<Raw<'a>>),
}

impl<'a> Raw<'a> {
    /// A value of source number `source`, whose whole text is `text`.
    pub(in crate::config) fn toml(value: &'a Spanned<DeValue<'a>>, source: usize, text: &'a str) -> Self {
        Self { at: Place::new(source, value.span()), node: Node::Toml(value.get_ref(), text) }
    }

    pub(in crate::config) fn text(at: Place, text: String) -> Self {
        Self { at, node: Node::Text(text) }
    }

    pub(in crate::config) fn integer(at: Place, integer: i64) -> Self {
        Self { at, node: Node::Integer(integer.to_string()) }
    }

    pub(in crate::config) fn switch(at: Place, switch: bool) -> Self {
        Self { at, node: Node::Switch(switch) }
    }

    pub(in crate::config) fn list(at: Place, items: Vec<Raw<'a>>) -> Self {
        Self { at, node: Node::List(items) }
    }

    /// What kind of value it is.
    pub(in crate::config) fn found(&self) -> Found<'_> {
        match &self.node {
            Node::Text(text) => Found::Text(text),
            Node::Integer(number) => Found::Integer(number),
            Node::Switch(switch) => Found::Switch(*switch),
            Node::List(_) => Found::List,
            Node::Toml(value, source) => {
                let written = source.get(self.at.start..self.at.end).unwrap_or_default();
                match value {
                    DeValue::String(text) => Found::Text(text),
                    DeValue::Integer(_) => Found::Integer(written),
                    DeValue::Float(_) => Found::Float(written),
                    DeValue::Boolean(switch) => Found::Switch(*switch),
                    DeValue::Datetime(_) => Found::Date,
                    DeValue::Array(_) => Found::List,
                    DeValue::Table(_) => Found::Table,
                }
            }
        }
    }

    /// A whole number; one of more than 64 bits, or without digits, is none.
    pub(in crate::config) fn as_integer(&self) -> Option<i64> {
        match &self.node {
            Node::Integer(number) => number.parse().ok(),
            Node::Toml(DeValue::Integer(number), _) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            _ => None,
        }
    }

    pub(in crate::config) fn as_table(&self) -> Option<&'a DeTable<'a>> {
        match self.node {
            Node::Toml(DeValue::Table(table), _) => Some(table),
            _ => None,
        }
    }

    /// The elements of a list, if it is one.
    pub(in crate::config) fn items(&self) -> Option<Vec<Raw<'a>>> {
        match &self.node {
            Node::List(items) => Some(items.clone()),
            Node::Toml(DeValue::Array(items), text) => {
                Some(items.iter().map(|item| Raw::toml(item, self.at.source, text)).collect())
            }
            _ => None,
        }
    }

    /// The elements of a list; a single value is a list of one.
    pub(in crate::config) fn elements(&self) -> Vec<Raw<'a>> {
        self.items().unwrap_or_else(|| vec![self.clone()])
    }

    /// The place of each element, or of the value.
    pub(in crate::config) fn places(&self) -> Arc<[Place]> {
        self.elements().into_iter().map(|item| item.at).collect()
    }
}
