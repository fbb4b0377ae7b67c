//! Reads a configuration file into settings, each with its line and column.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::keys::{self, Key, Kind};
use super::layers::{Origin, Setting, Value};
use crate::suggest;

/// No configuration is larger; a larger file is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The settings in the file at `path`.
pub fn read(path: &Path) -> Result<Vec<(&'static Key, Setting)>, ConfigError> {
    let text = read_text(path).map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    parse(path, &text)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}

/// The settings in `text`; `path` is for messages.
pub fn parse(path: &Path, text: &str) -> Result<Vec<(&'static Key, Setting)>, ConfigError> {
    let source = Source { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        ConfigError::Syntax { place: Place::of_offset(path, text, offset), what: error.message().to_owned() }
    })?;
    let mut settings = Vec::new();
    for (name, value) in document.get_ref() {
        let table = keys::tables().find(|table| *table == name.get_ref());
        let table = table.ok_or_else(|| source.unknown(None, name))?;
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(source.wrong_type(table.to_owned(), "a table", value));
        };
        for (name, value) in entries {
            let key = keys::in_table(table).find(|key| key.name == name.get_ref());
            let key = key.ok_or_else(|| source.unknown(Some(table), name))?;
            let origin = source.origin(value.span().start);
            settings.push((key, Setting { value: source.value(key, value)?, origin }));
        }
    }
    Ok(settings)
}

/// The text being read and where it is from.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self, offset: usize) -> Origin {
        Origin::File(Place::of_offset(self.path, self.text, offset))
    }

    fn unknown(&self, table: Option<&str>, name: &Spanned<impl AsRef<str>>) -> ConfigError {
        ConfigError::Unknown {
            origin: self.origin(name.span().start),
            table: table.map(str::to_owned),
            name: name.get_ref().as_ref().to_owned(),
            suggestion: suggestion(table, name.get_ref().as_ref()),
        }
    }

    fn wrong_type(&self, key: String, expected: &'static str, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let origin = self.origin(value.span().start);
        ConfigError::WrongType { origin, key, expected, found: type_name(value.get_ref()) }
    }

    fn value(&self, key: &'static Key, value: &Spanned<DeValue<'_>>) -> Result<Value, ConfigError> {
        if !key.kind.is_list() {
            return match value.get_ref() {
                DeValue::Boolean(is_on) if key.kind == Kind::Switch => Ok(Value::Text(is_on.to_string())),
                _ if key.kind == Kind::Switch => Err(self.wrong_type(key.path(), "true or false", value)),
                DeValue::String(text) => Ok(Value::Text(text.as_ref().to_owned())),
                _ => Err(self.wrong_type(key.path(), "a string", value)),
            };
        }
        let expected = "a list of strings";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong_type(key.path(), expected, value));
        };
        let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Ok(text.as_ref().to_owned()),
            _ => Err(self.wrong_type(key.path(), expected, item)),
        };
        items.iter().map(text).collect::<Result<Vec<_>, _>>().map(Value::List)
    }
}

/// What somebody meant with the unknown `name` in `table`, or at the top.
pub fn suggestion(table: Option<&str>, name: &str) -> Option<String> {
    let elsewhere = || keys::KEYS.iter().find(|key| key.name == name);
    let near = match table {
        Some(table) => {
            suggest::closest(name, keys::in_table(table).map(|key| key.name)).map(|name| format!("{name:?}"))
        }
        None => suggest::closest(name, keys::tables()).map(|table| format!("[{table}]")),
    };
    near.or_else(|| elsewhere().map(|key| format!("{:?} in [{}]", key.name, key.table)))
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
