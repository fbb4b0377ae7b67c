//! `starling config show`: the configuration that takes effect, as TOML or JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::keys::{self, KEYS, Key, Kind};
use super::{Config, Origin, Settings, Value};
use crate::output::Render;

/// The configuration of one node, with origins when they were asked for.
#[derive(Debug, Serialize)]
pub struct Shown {
    schema: &'static str,
    file: String,
    config: BTreeMap<&'static str, BTreeMap<&'static str, toml::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origins: Option<BTreeMap<String, String>>,
}

impl Shown {
    /// What `settings`, which make `config`, come to. Directories are shown whole, so that what is
    /// shown means the same wherever it is kept.
    pub fn of(config: &Config, settings: &Settings, has_origins: bool) -> Shown {
        let mut shown: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for key in &KEYS {
            if let Some(value) = effective(config, settings, key) {
                shown.entry(key.table).or_default().insert(key.name, value);
            }
        }
        let origin = |key: &Key| (key.path(), origin_name(&settings.origin(key)));
        Shown {
            schema: "starling.config/1",
            file: settings.file.display().to_string(),
            config: shown,
            origins: has_origins.then(|| KEYS.iter().map(origin).collect()),
        }
    }
}

impl Render for Shown {
    fn table(&self) -> String {
        let mut text = String::new();
        for table in keys::tables() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{table}]\n"));
            for key in keys::in_table(table) {
                let value = self.config.get(table).and_then(|values| values.get(key.name));
                let line = match value {
                    Some(value) => format!("{} = {value}", key.name),
                    None => format!("# {} is not set", key.name),
                };
                match self.origins.as_ref().and_then(|origins| origins.get(&key.path())) {
                    Some(origin) if value.is_some() => text.push_str(&format!("{line:<40} # {origin}\n")),
                    Some(_) | None => text.push_str(&format!("{line}\n")),
                }
            }
        }
        text
    }
}

fn effective(config: &Config, settings: &Settings, key: &Key) -> Option<toml::Value> {
    let directory = match (key.name, &config.http_token_file) {
        ("credentials", _) => &config.credentials,
        ("http_token_file", Some(file)) => file,
        ("shipped", _) => config.discovery.shipped.as_ref().unwrap_or(&config.data),
        _ => &config.data,
    };
    let text = |text: &str| toml::Value::String(text.to_owned());
    let setting = settings.get(key)?;
    Some(match (&setting.value, key.kind) {
        (_, Kind::Directory | Kind::File) => {
            let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            text(&whole.display().to_string())
        }
        (Value::Text(value), Kind::Switch) => toml::Value::Boolean(value == "true"),
        (Value::Text(value), _) => text(value),
        (Value::List(items), _) => toml::Value::Array(items.iter().map(|item| text(item)).collect()),
    })
}

fn origin_name(origin: &Origin) -> String {
    // A flag may hold anything, and a comment ends with its line.
    let line = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(place) => line(format!("{}:{}", place.file.display(), place.line)),
        Origin::Environment(variable) => format!("environment {variable}"),
        Origin::Flag(text) => line(format!("--set {text}")),
    }
}
