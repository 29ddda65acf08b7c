//! `usage`: exports and sums usage records. If the gateway is running, through its admin listener; if not,
//! from its store.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::{admin::AdminArgs, ledger_source::LedgerSource, terminal};
use crate::{
    gateway::{UsageQuery, parse_time, usage_to_json},
    ledger::{UsageCursor, UsagePage, UsagePeriod},
    qod::Moment,
};

#[derive(clap::Args)]
pub(super) struct UsageArgs {
    #[command(subcommand)]
    action: UsageAction,
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum UsageAction {
    /// Print usage records, oldest first
    Export {
        #[command(flatten)]
        period: PeriodArgs,
        /// Output format
        #[arg(long, value_enum, default_value = "jsonl")]
        format: UsageFormat,
        /// Only records after this one (`cursor` of the last record that was read)
        #[arg(long, value_name = "CURSOR")]
        after: Option<UsageCursor>,
        /// Maximum number of records
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Sum usage records
    Report {
        #[command(flatten)]
        period: PeriodArgs,
        /// What a line of the report is about; several are separated by commas
        #[arg(long, value_enum, value_delimiter = ',', default_value = "client,operator")]
        by: Vec<UsageGroup>,
    },
}

#[derive(clap::Args)]
struct PeriodArgs {
    /// Only records made at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Moment>,
    /// Only records made before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Moment>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UsageFormat {
    /// One JSON object a line
    Jsonl,
    /// RFC 4180, with a header line
    Csv,
}

#[derive(Clone, Copy, ValueEnum)]
enum UsageGroup {
    Client,
    Operator,
    /// The profile, as clients name it
    Profile,
    /// The profile, as the operator names it
    OperatorProfile,
    Ending,
}

// Where usage records are read from.
/// The sums of a line of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UsageSums {
    sessions: u64,
    in_doubt: u64,
    requested_s: u64,
    granted_s: u64,
    used_s: u64,
    uncertain_s: u64,
}

const PAGE: usize = 500;

pub(super) fn run(arguments: &UsageArgs) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(execute(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(arguments: &UsageArgs) -> Result<(), String> {
    let source = LedgerSource::find(&arguments.admin, &arguments.policies).await?;
    match &arguments.action {
        UsageAction::Export { period, format, after, limit } => {
            if *format == UsageFormat::Csv {
                terminal::print_line(&COLUMNS.join(","));
            }
            let mut last = after.map(|after| after.to_string());
            source
                .for_each_usage(period.period(), *after, *limit, |usage| {
                    last = usage["cursor"].as_str().map(str::to_owned);
                    terminal::print_line(&match format {
                        UsageFormat::Jsonl => usage.to_string(),
                        UsageFormat::Csv => csv_line(usage),
                    });
                })
                .await?;
            if let Some(last) = last {
                terminal::print_note(&format!("cursor: {last}"));
            }
        }
        UsageAction::Report { period, by } => {
            let mut sums: BTreeMap<Vec<String>, UsageSums> = BTreeMap::new();
            source
                .for_each_usage(period.period(), None, None, |usage| {
                    let names = by.iter().map(|group| group.of(usage)).collect();
                    sums.entry(names).or_default().add(usage);
                })
                .await?;
            print_report(by, &sums);
        }
    }
    Ok(())
}

impl PeriodArgs {
    const fn period(&self) -> UsagePeriod {
        UsagePeriod { from: self.from, to: self.to }
    }
}

impl LedgerSource {
    // Visits at most `limit` records.
    async fn for_each_usage(
        &self,
        period: UsagePeriod,
        mut after: Option<UsageCursor>,
        limit: Option<u64>,
        mut visit: impl FnMut(&Value),
    ) -> Result<(), String> {
        let mut left =
            limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        loop {
            let query = UsageQuery { after, period, limit: Some(left.min(PAGE)) };
            let (records, next) = self.usage_page(&query).await?;
            records.iter().for_each(&mut visit);
            left = left.saturating_sub(records.len());
            if next.is_none() || left == 0 {
                return Ok(());
            }
            after = next;
        }
    }

    async fn usage_page(
        &self,
        query: &UsageQuery,
    ) -> Result<(Vec<Value>, Option<UsageCursor>), String> {
        let limit = query.limit.unwrap_or(PAGE);
        let page = match self {
            Self::Running(admin) => {
                let path = format!("/usage?{}", query.to_query_string());
                return admin.page_of(&path).await;
            }
            Self::Shared(ledger) => ledger.usage(query.after, query.period, limit).await,
            Self::Stopped(reader) => reader.usage(query.after, query.period, limit),
        };
        let UsagePage { records, next } = page.map_err(|error| error.to_string())?;
        Ok((records.iter().map(|(cursor, usage)| usage_to_json(*cursor, usage)).collect(), next))
    }
}

impl UsageGroup {
    const fn member(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Profile => "clientProfile",
            Self::OperatorProfile => "operatorProfile",
            Self::Ending => "ending",
        }
    }

    fn of(self, usage: &Value) -> String {
        usage[self.member()].as_str().unwrap_or("-").to_owned()
    }
}

impl UsageSums {
    fn add(&mut self, usage: &Value) {
        let number = |name: &str| usage[name].as_u64().unwrap_or_default();
        self.sessions += 1;
        self.in_doubt += u64::from(usage["inDoubt"] == true);
        self.requested_s += number("requestedSeconds");
        self.granted_s += number("grantedSeconds");
        self.used_s += number("usedSeconds");
        self.uncertain_s += number("uncertainSeconds");
    }

    fn columns(self) -> [String; 6] {
        let Self { sessions, in_doubt, requested_s, granted_s, used_s, uncertain_s } = self;
        [sessions, in_doubt, requested_s, granted_s, used_s, uncertain_s]
            .map(|number| number.to_string())
    }
}

fn print_report(by: &[UsageGroup], sums: &BTreeMap<Vec<String>, UsageSums>) {
    let names = |line: &[String]| {
        line.iter().map(|name| format!("{name:<20}  ")).collect::<Vec<_>>().concat()
    };
    let line = |first: &[String], numbers: &[String; 6]| {
        let [sessions, in_doubt, requested, granted, used, uncertain] = numbers;
        terminal::print_line(&format!(
            "{}{sessions:>9}  {in_doubt:>9}  {requested:>13}  {granted:>13}  {used:>13}  {uncertain:>13}",
            names(first)
        ));
    };
    let heads: Vec<String> = by.iter().map(|group| group.member().to_owned()).collect();
    let titles = ["sessions", "in doubt", "requested s", "granted s", "used s", "uncertain s"];
    line(&heads, &titles.map(str::to_owned));
    for (group, sums) in sums {
        line(group, &sums.columns());
    }
}

// The members of a record, in the order of the columns.
const COLUMNS: [&str; 22] = [
    "cursor",
    "sessionId",
    "operatorSession",
    "client",
    "operator",
    "clientDialect",
    "operatorDialect",
    "clientProfile",
    "operatorProfile",
    "requestedSeconds",
    "grantedSeconds",
    "usedSeconds",
    "uncertainSeconds",
    "requestedAt",
    "startedAt",
    "endedAt",
    "recordedAt",
    "ending",
    "statusInfo",
    "inDoubt",
    "correlator",
    "device",
];

fn csv_line(usage: &Value) -> String {
    let field = |name: &&str| match &usage[*name] {
        Value::Null => String::new(),
        Value::String(text) => csv_field(text),
        other => other.to_string(),
    };
    COLUMNS.iter().map(field).collect::<Vec<_>>().join(",")
}

// RFC 4180: a field with a separator is quoted, and quotes in it are doubled.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn time(text: &str) -> Result<Moment, String> {
    parse_time(text).ok_or_else(|| "expected a time such as `2026-11-01T00:00:00Z`".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_fields_are_quoted_if_needed() {
        let quoted = [
            ("a", "a"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
        ];
        for (text, expected) in quoted {
            assert_eq!(csv_field(text), expected);
        }
        let usage = json!({ "cursor": "7", "client": "a,b", "usedSeconds": 60, "inDoubt": false });
        let line = csv_line(&usage);
        assert_eq!(line, "7,,,\"a,b\",,,,,,,,60,,,,,,,,false,,");
        assert_eq!(line.split(',').count(), COLUMNS.len() + 1, "{line}");
    }

    #[test]
    fn sums_are_those_of_all_records() {
        let usage = |used, in_doubt| {
            json!({ "requestedSeconds": 60, "grantedSeconds": 50, "usedSeconds": used,
                    "uncertainSeconds": 1, "inDoubt": in_doubt })
        };
        let mut sums = UsageSums::default();
        sums.add(&usage(40, false));
        sums.add(&usage(30, true));
        assert_eq!(sums.columns(), ["2", "1", "120", "100", "70", "2"]);
    }
}
