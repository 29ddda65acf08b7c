//! Formats log lines. There is an audit record for each request, so its members are written by hand; the library
//! formats all other lines. Both have the same form.

use std::fmt::{self, Debug, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::trace;

/// The field that has all members of a line except for its time, level and target, from [`JsonMembers`].
pub(super) const RAW_MEMBERS: &str = "members";

/// Formats events with [`RAW_MEMBERS`] itself, and other events as `F` does.
pub struct LineFormat<F> {
    /// The format of other events: JSON, with the fields of an event beside its message.
    pub others: F,
}

impl<S, N, F> FormatEvent<S, N> for LineFormat<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.fields().field(RAW_MEMBERS).is_none() {
            let Some(members) = request_members() else {
                return self.others.format_event(context, writer, event);
            };
            let mut line = String::new();
            self.others.format_event(context, Writer::new(&mut line), event)?;
            let Some(open) = line.strip_suffix("}\n") else { return writer.write_str(&line) };
            return writeln!(writer, "{open}{members}}}");
        }
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut members = RawMembers { writer: &mut writer, result: Ok(()) };
        event.record(&mut members);
        members.result?;
        writer.write_str(",\"target\":\"")?;
        writer.write_str(metadata.target())?;
        writer.write_str("\"}\n")
    }
}

/// The members that name the request in progress. `None` outside of a request.
fn request_members() -> Option<String> {
    trace::with_current(|scope| {
        let mut text = String::new();
        let mut members = JsonMembers(&mut text);
        members.text("correlator", scope.correlator.as_ref().and_then(|value| value.to_str().ok()));
        let trace_id = scope.trace.as_ref().map(|trace| trace.trace_id().to_string());
        members.text("trace_id", trace_id.as_deref());
        text
    })
}

/// Writes the field [`RAW_MEMBERS`]. It repeats the other fields.
struct RawMembers<'b, 'w> {
    writer: &'b mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for RawMembers<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == RAW_MEMBERS {
            self.result = self.writer.write_str(value);
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}
}

/// Writes members of a JSON object, each after a comma.
pub(super) struct JsonMembers<'t>(pub(super) &'t mut String);

impl JsonMembers<'_> {
    /// A string, if there is one.
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.name(name);
        self.0.push('"');
        push_escaped(self.0, value);
        self.0.push('"');
    }

    /// An integer.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_number(self.0, value);
    }

    /// A number with one to three decimals.
    pub(super) fn thousandths(&mut self, name: &str, thousandths: u64) {
        self.number(name, thousandths / 1000);
        self.0.push('.');
        let [hundreds, tens, ones] = [100, 10, 1].map(|unit| thousandths / unit % 10);
        push_number(self.0, hundreds);
        if tens > 0 || ones > 0 {
            push_number(self.0, tens);
        }
        if ones > 0 {
            push_number(self.0, ones);
        }
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }
}

/// Appends a number. Faster than the library's way for small numbers.
pub(super) fn push_number(text: &mut String, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    let digit = u32::try_from(number % 10).ok().and_then(|digit| char::from_digit(digit, 10));
    text.extend(digit);
}

/// Appends a text with the escapes of a JSON string (RFC 8259 §7).
fn push_escaped(to: &mut String, text: &str) {
    let is_special = |c: char| matches!(c, '"' | '\\' | '\0'..'\x20');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| is_special(byte.into())) {
        let (plain, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        to.push_str(plain);
        let mut chars = after.chars();
        match chars.next() {
            Some(c @ ('"' | '\\')) => to.extend(['\\', c]),
            Some('\n') => to.push_str("\\n"),
            Some('\r') => to.push_str("\\r"),
            Some('\t') => to.push_str("\\t"),
            Some('\x08') => to.push_str("\\b"),
            Some('\x0c') => to.push_str("\\f"),
            // Writing into a string cannot fail.
            Some(c) => _ = write!(to, "\\u{:04x}", u32::from(c)),
            None => {}
        }
        rest = chars.as_str();
    }
    to.push_str(rest);
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use proptest::prelude::*;
    use tracing::subscriber::with_default;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::audit::{AuditRecord, TARGET};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    // The line of `ours` in this format and of `theirs` in the library's, without their times.
    fn lines(ours: impl Fn(), theirs: impl Fn()) -> [String; 2] {
        let json = || tracing_subscriber::fmt().json().flatten_event(true);
        let (our_lines, their_lines) = (Lines::default(), Lines::default());
        let format = json().map_event_format(|others| LineFormat { others });
        with_default(format.with_writer(our_lines.clone()).finish(), ours);
        with_default(json().with_writer(their_lines.clone()).finish(), theirs);
        [our_lines, their_lines].map(|lines| {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let (time, rest) =
                text.split_at("{\"timestamp\":\"2026-11-30T22:27:33.544494Z\"".len());
            assert!(time.starts_with("{\"timestamp\":\"2") && time.ends_with("Z\""), "{text}");
            rest.to_owned()
        })
    }

    fn record(correlator: &str, duration: Duration) -> AuditRecord {
        AuditRecord {
            source: Some(Ipv4Addr::LOCALHOST.into()),
            status: 201,
            duration,
            correlator: Some(correlator.to_owned()),
            ..AuditRecord::default()
        }
    }

    // The same record, as an event whose fields the library formats.
    fn write_with_library(correlator: &str, duration_ms: f64) {
        tracing::info!(
            target: TARGET,
            event = "request_decided",
            method = None::<&str>,
            source = %Ipv4Addr::LOCALHOST,
            status = 201_u16,
            duration_ms,
            correlator,
            "request decided"
        );
    }

    #[test]
    fn audit_line_is_that_of_the_library() {
        let correlator = "a \"quoted\"\\\u{1}\u{8}\u{c}\n\r\t\u{7f}ü";
        for (duration_us, duration_ms) in [(1235, 1.235), (2_000_000, 2000.0), (0, 0.0), (10, 0.01)]
        {
            let record = record(correlator, Duration::from_micros(duration_us));
            let [ours, theirs] =
                lines(|| record.write(), || write_with_library(correlator, duration_ms));
            assert_eq!(ours, theirs);
            assert!(ours.ends_with(",\"target\":\"audit\"}\n"), "{ours}");
        }
    }

    #[test]
    fn other_lines_are_those_of_the_library() {
        let write = || tracing::info!(event = "server_stopped", "a message");
        let [ours, theirs] = lines(write, write);
        assert_eq!(ours, theirs);
        assert!(ours.contains("\"event\":\"server_stopped\""), "{ours}");
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_the_library_does(text in any::<String>()) {
            let record = record(&text, Duration::ZERO);
            let [ours, theirs] = lines(|| record.write(), || write_with_library(&text, 0.0));
            prop_assert_eq!(ours, theirs);
        }
    }
}
