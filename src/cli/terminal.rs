//! Output to standard output and standard error; colours only on a terminal.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

/// Writes an error to standard error and returns the failure exit code.
pub(super) fn fail(message: &str) -> ExitCode {
    // A write error is ignored: the exit code still reports the failure.
    let _ = writeln!(std::io::stderr(), "qod-gateway: {message}");
    ExitCode::FAILURE
}

/// Writes a line to standard output.
pub(super) fn print_line(text: &str) {
    // A write error is ignored: the reader has closed the pipe.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Text styles.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// A heading.
    Heading,
    /// A check that passed.
    Success,
    /// A check that failed.
    Failure,
    /// Details.
    Faint,
}

/// Returns the text with the style's escape codes; unchanged if standard output is not a terminal.
pub(super) fn styled(style: Style, text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match style {
        Style::Heading => "1",
        Style::Success => "32",
        Style::Failure => "31;1",
        Style::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}
