//! The result of `policy diff` as text and as JSON.

use serde_json::{Value, json};

use super::test_changes::TestChange;
use crate::{
    cli::terminal::{self, Style},
    policy::{PolicyComparison, PolicyFile, SettingChange, SettingOwner, TableChange},
    route::{MovedDevices, Target},
};

/// What differs between two policy folders.
pub(super) struct DiffReport {
    /// The versions of the old and the new policies.
    pub(super) versions: [String; 2],
    pub(super) comparison: PolicyComparison,
    pub(super) tests: Vec<TestChange>,
}

impl DiffReport {
    pub(super) fn is_empty(&self) -> bool {
        let PolicyComparison { settings, moved, tables, documents } = &self.comparison;
        settings.is_empty()
            && moved.is_empty()
            && tables.is_empty()
            && documents.is_empty()
            && self.tests.is_empty()
    }

    /// Prints one line for each change, in groups.
    pub(super) fn print(&self) {
        if self.is_empty() {
            terminal::print_line("no difference");
            return;
        }
        for (heading, lines) in self.groups() {
            if !lines.is_empty() {
                terminal::print_line(&terminal::styled(Style::Heading, heading));
                for line in lines {
                    terminal::print_line(&format!("  {line}"));
                }
            }
        }
    }

    fn groups(&self) -> [(&'static str, Vec<String>); 8] {
        let PolicyComparison { settings, moved, tables, documents } = &self.comparison;
        let of = |file: PolicyFile| {
            let own = settings.iter().filter(|change| change.owner.file() == file);
            own.map(describe_setting).collect::<Vec<_>>()
        };
        let mut routes: Vec<String> = moved.iter().flat_map(describe_moved).collect();
        routes.extend(tables.iter().map(describe_table));
        routes.extend(of(PolicyFile::Routes));
        let documents = documents.iter().map(|name| format!("{name}: the content differs"));
        [
            ("clients", of(PolicyFile::Clients)),
            ("operators", of(PolicyFile::Operators)),
            ("profiles", of(PolicyFile::Profiles)),
            ("routes", routes),
            ("dialects", of(PolicyFile::Dialects)),
            ("gateway", of(PolicyFile::Gateway)),
            ("OpenAPI documents", documents.collect()),
            ("policy tests", self.tests.iter().map(TestChange::line).collect()),
        ]
    }

    pub(super) fn to_json(&self) -> Value {
        let PolicyComparison { settings, moved, tables, documents } = &self.comparison;
        let [old, new] = &self.versions;
        json!({
            "old_version": old,
            "new_version": new,
            "different": !self.is_empty(),
            "settings": settings.iter().map(setting_json).collect::<Value>(),
            "routes": moved.iter().map(moved_json).collect::<Value>(),
            "tables": tables.iter().map(|TableChange { file, old, new }| {
                json!({ "file": file, "old_routes": old, "new_routes": new })
            }).collect::<Value>(),
            "documents": documents,
            "tests": self.tests.iter().map(TestChange::to_json).collect::<Value>(),
        })
    }
}

fn setting_json(change: &SettingChange) -> Value {
    json!({
        "file": change.owner.file().name(),
        "kind": change.owner.kind(),
        "name": change.owner.name(),
        "change": match (change.key.is_empty(), &change.old, &change.new) {
            (true, None, _) => "added",
            (true, _, None) => "removed",
            _ => "changed",
        },
        "key": (!change.key.is_empty()).then_some(&change.key),
        "old": change.old,
        "new": change.new,
        "needs_restart": change.needs_restart,
    })
}

fn moved_json(moved: &MovedDevices) -> Value {
    json!({
        "kind": moved.kind.name(),
        "from": moved.from.as_ref().map(target_json),
        "to": moved.to.as_ref().map(target_json),
        "count": moved.count,
        "first": moved.first,
    })
}

fn target_json(target: &Target) -> Value {
    let kind = match target {
        Target::Operator(_) => "operator",
        Target::Finder(_) => "finder",
    };
    json!({ "kind": kind, "name": target.to_string() })
}

fn describe_setting(change: &SettingChange) -> String {
    let SettingChange { owner, key, old, new, needs_restart } = change;
    let restart = if *needs_restart { " (needs a restart)" } else { "" };
    let owner = match owner {
        SettingOwner::Entry(..) => format!("{} {}: ", owner.kind(), owner.name()),
        SettingOwner::File(_) => String::new(),
    };
    let change = match (old, new) {
        (None, Some(new)) if key.is_empty() => format!("added ({})", members(new)),
        (Some(_), None) if key.is_empty() => "removed".to_owned(),
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            format!("{key}: {}", describe_lists(old, new))
        }
        (old, new) => {
            let text =
                |value: &Option<Value>| value.as_ref().map_or_else(|| "not set".to_owned(), text);
            format!("{key}: {} → {}", text(old), text(new))
        }
    };
    format!("{owner}{change}{restart}")
}

/// Describes a change of a list: the values that were added and removed, or another order.
fn describe_lists(old: &[Value], new: &[Value]) -> String {
    let list = |values: &[&Value]| values.iter().map(|value| text(value)).collect::<Vec<_>>();
    let added: Vec<&Value> = new.iter().filter(|value| !old.contains(value)).collect();
    let removed: Vec<&Value> = old.iter().filter(|value| !new.contains(value)).collect();
    let mut parts = Vec::new();
    for (verb, values) in [("added", added), ("removed", removed)] {
        if !values.is_empty() {
            parts.push(format!("{verb} {}", list(&values).join(", ")));
        }
    }
    if parts.is_empty() {
        let (old, new): (Vec<_>, Vec<_>) = (old.iter().collect(), new.iter().collect());
        return format!("{} → {}", list(&old).join(", "), list(&new).join(", "));
    }
    parts.join("; ")
}

fn describe_moved(moved: &MovedDevices) -> Vec<String> {
    let movement = match (&moved.from, &moved.to) {
        (Some(from), Some(to)) => format!("moved from {} to {}", name(from), name(to)),
        (None, Some(to)) => format!("new, to {}", name(to)),
        (Some(from), None) => format!("no route any more, was to {}", name(from)),
        (None, None) => String::new(),
    };
    let lines = moved.first.iter().map(|range| format!("{range} → {movement}"));
    let mut lines: Vec<String> = lines.collect();
    let others = moved.count.saturating_sub(moved.first.len());
    if others > 0 {
        lines.push(format!("{others} more {} → {movement}", moved.kind.plural()));
    }
    lines
}

fn name(target: &Target) -> String {
    match target {
        Target::Operator(operator) => operator.to_string(),
        Target::Finder(finder) => format!("finder {finder}"),
    }
}

fn describe_table(TableChange { file, old, new }: &TableChange) -> String {
    match (old, new) {
        (None, Some(new)) => format!("table {file}: added, {new} routes"),
        (Some(old), None) => format!("table {file}: removed, had {old} routes"),
        (Some(old), Some(new)) if old != new => format!("table {file}: {old} → {new} routes"),
        _ => format!("table {file}: the content differs"),
    }
}

/// A value on one line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(_) => format!("{{{}}}", members(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn members(value: &Value) -> String {
    let Value::Object(members) = value else { return text(value) };
    let members = members.iter().map(|(key, value)| format!("{key}: {}", text(value)));
    members.collect::<Vec<_>>().join(", ")
}
