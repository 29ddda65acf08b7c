//! Formats log lines. There is an audit record for each request, so its members are written by hand; the library
//! formats all lines of other targets. Both have the same form.

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

use super::TARGET;

/// The field of an event that consists of members of the line, written by [`JsonMembers`].
pub(super) const RAW_MEMBERS: &str = "members";

/// Formats audit records itself, and other lines as `F` does.
pub struct LineFormat<F> {
    /// The format of other lines: JSON, with the fields of an event beside its message.
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
        if metadata.target() != TARGET {
            return self.others.format_event(context, writer, event);
        }
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut fields = FieldWriter { writer: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_str(",\"target\":\"")?;
        writer.write_str(TARGET)?;
        writer.write_str("\"}\n")
    }
}

/// Writes fields as members of a JSON object.
struct FieldWriter<'b, 'w> {
    writer: &'b mut Writer<'w>,
    result: fmt::Result,
}

impl FieldWriter<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.try_write(field, value);
        }
    }

    fn try_write(
        &mut self,
        field: &Field,
        value: impl FnOnce(&mut Writer<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.writer.write_str(",\"")?;
        self.writer.write_str(field.name())?;
        self.writer.write_str("\":")?;
        value(self.writer)
    }
}

impl Visit for FieldWriter<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == RAW_MEMBERS {
            self.result = self.result.and_then(|()| self.writer.write_str(value));
            return;
        }
        self.write(field, |writer| {
            writer.write_char('"')?;
            Escaped(writer).write_str(value)?;
            writer.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    // A number that is not finite is not JSON.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, |writer| {
            if value.is_finite() { write!(writer, "{value:?}") } else { writer.write_str("null") }
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

/// Writes members of a JSON object, each after a comma.
pub(super) struct JsonMembers<'t>(pub(super) &'t mut String);

impl JsonMembers<'_> {
    /// A string, if there is one.
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.name(name);
        self.0.push('"');
        // Writing into a string cannot fail.
        _ = Escaped(self.0).write_str(value);
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

/// Escapes what is written to it for a JSON string (RFC 8259 §7).
struct Escaped<'b, W>(&'b mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |c: char| matches!(c, '"' | '\\' | '\0'..'\x20');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| is_special(byte.into())) {
            let (plain, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.0.write_str(plain)?;
            let mut chars = after.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => write!(self.0, "\\{c}")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some('\x08') => self.0.write_str("\\b")?,
                Some('\x0c') => self.0.write_str("\\f")?,
                Some(c) => write!(self.0, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing::subscriber::with_default;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

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

    // The line of this format and the library's, without their times.
    fn lines(write: impl Fn()) -> [String; 2] {
        let (ours, theirs) = (Lines::default(), Lines::default());
        let json = || tracing_subscriber::fmt().json().flatten_event(true);
        let both = json().map_event_format(|others| LineFormat { others });
        with_default(both.with_writer(ours.clone()).finish(), &write);
        with_default(json().with_writer(theirs.clone()).finish(), &write);
        [ours, theirs].map(|lines| {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let (time, rest) =
                text.split_at("{\"timestamp\":\"2026-11-30T22:27:33.544494Z\"".len());
            assert!(time.starts_with("{\"timestamp\":\"2") && time.ends_with("Z\""), "{text}");
            rest.to_owned()
        })
    }

    #[test]
    fn audit_line_is_that_of_the_library() {
        let [ours, theirs] = lines(|| {
            let (none, some): (Option<&str>, _) =
                (None, Some("a \"quoted\"\\\u{1}\u{8}\u{c}\n\r\t\u{7f}ü"));
            tracing::warn!(
                target: TARGET,
                event = "request_decided",
                none,
                some,
                status = 201_u16,
                signed = -3,
                is_true = true,
                duration_ms = 1.235,
                whole = 2000.0,
                infinite = f64::INFINITY,
                source = %std::net::Ipv4Addr::LOCALHOST,
                other_source = %"a\"b",
                "a message"
            );
        });
        assert_eq!(ours, theirs);
        assert!(ours.ends_with(",\"target\":\"audit\"}\n"), "{ours}");
    }

    #[test]
    fn other_lines_are_those_of_the_library() {
        let [ours, theirs] = lines(|| tracing::info!(event = "server_stopped", "a message"));
        assert_eq!(ours, theirs);
        assert!(ours.contains("\"event\":\"server_stopped\""), "{ours}");
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_the_library_does(text in any::<String>()) {
            let [ours, theirs] = lines(|| tracing::info!(target: TARGET, event = "request_decided", text, "a message"));
            prop_assert_eq!(ours, theirs);
        }
    }
}
