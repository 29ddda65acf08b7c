//! The statements of the shared store, from `statements.sql`. Most call the functions of
//! `src/postgres/sql/0001_ledger.sql` and `0003_usage.sql`.

use crate::postgres::Statement;

const STATEMENTS: &str = include_str!("statements.sql");
const NAME: &str = "-- name: ";

/// The statements of an open ledger.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) heartbeat: Statement,
    pub(super) reserve: Statement,
    pub(super) replace: Statement,
    pub(super) replace_and_end: Statement,
    pub(super) remove: Statement,
    pub(super) remove_and_end: Statement,
    pub(super) read_usage: Statement,
    pub(super) prune_usage: Statement,
    pub(super) record_early_event: Statement,
    pub(super) find: Statement,
    pub(super) find_by_operator_session: Statement,
    pub(super) find_by_device: Statement,
    pub(super) list: Statement,
    pub(super) count: Statement,
    pub(super) add_operator: Statement,
    pub(super) expire_holds: Statement,
    pub(super) expire_replies: Statement,
    pub(super) lease_due: Statement,
    pub(super) postpone: Statement,
    pub(super) leave: Statement,
    pub(super) take_notifications: Statement,
    pub(super) list_notifications: Statement,
    pub(super) retry_notifications: Statement,
    pub(super) drop_notifications: Statement,
    pub(super) replicas: Statement,
    pub(super) import_session: Statement,
    pub(super) import_reply: Statement,
    pub(super) import_day: Statement,
    pub(super) import_notification: Statement,
    pub(super) import_usage: Statement,
    pub(super) import_end: Statement,
    pub(super) find_notification: Statement,
    pub(super) find_owned_notification: Statement,
    pub(super) acknowledge: Statement,
}

/// The statements that open a ledger.
#[derive(Debug)]
pub(super) struct OpeningStatements {
    pub(super) find_setting: Statement,
    pub(super) add_setting: Statement,
    pub(super) set_setting: Statement,
    pub(super) is_empty: Statement,
    pub(super) time: Statement,
    pub(super) heartbeat: Statement,
}

impl Statements {
    pub(super) fn new(schema: &str) -> Self {
        let named = |name| Statement::new(name, &statement(name), schema);
        Self {
            heartbeat: named("heartbeat"),
            reserve: named("reserve"),
            replace: named("replace"),
            replace_and_end: named("replace_and_end"),
            remove: named("remove"),
            remove_and_end: named("remove_and_end"),
            read_usage: named("read_usage"),
            prune_usage: named("prune_usage"),
            record_early_event: named("record_early_event"),
            find: named("find"),
            find_by_operator_session: named("find_by_operator_session"),
            find_by_device: named("find_by_device"),
            list: named("list"),
            count: named("count"),
            add_operator: named("add_operator"),
            expire_holds: named("expire_holds"),
            expire_replies: named("expire_replies"),
            lease_due: named("lease_due"),
            postpone: named("postpone"),
            leave: named("leave"),
            take_notifications: named("take_notifications"),
            list_notifications: named("list_notifications"),
            retry_notifications: named("retry_notifications"),
            drop_notifications: named("drop_notifications"),
            replicas: named("replicas"),
            import_session: named("import_session"),
            import_reply: named("import_reply"),
            import_day: named("import_day"),
            import_notification: named("import_notification"),
            import_usage: named("import_usage"),
            import_end: named("import_end"),
            find_notification: named("find_notification"),
            find_owned_notification: named("find_owned_notification"),
            acknowledge: named("acknowledge"),
        }
    }
}

impl OpeningStatements {
    pub(super) fn new(schema: &str) -> Self {
        let named = |name| Statement::new(name, &statement(name), schema);
        Self {
            find_setting: named("find_setting"),
            add_setting: named("add_setting"),
            set_setting: named("set_setting"),
            is_empty: named("is_empty"),
            time: named("time"),
            heartbeat: named("heartbeat"),
        }
    }
}

// The text of a statement, without comments.
fn statement(name: &str) -> String {
    let mut sections = STATEMENTS.split(NAME).filter_map(|section| section.split_once('\n'));
    let text = sections.find(|(named, _)| *named == name).map_or("", |(_, text)| text);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("--")).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_is_used_and_has_a_text() {
        let used = format!("{:?} {:?}", Statements::new("s"), OpeningStatements::new("s"));
        for name in STATEMENTS.split(NAME).skip(1).filter_map(|section| section.lines().next()) {
            assert!(used.contains(&format!("name: {name:?}")), "{name} is unused");
        }
        assert!(!used.contains("sql: \"\""), "{used}");
    }
}
