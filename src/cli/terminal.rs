//! What is written to a terminal, and to a pipe without colours.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

/// Says on standard error why there is nothing more to do.
pub(super) fn fail(message: &str) -> ExitCode {
    // If nobody can be told, the exit code still tells.
    let _ = writeln!(std::io::stderr(), "qod-gateway: {message}");
    ExitCode::FAILURE
}

/// Writes a line to standard output.
pub(super) fn line(text: &str) {
    // A reader that has gone away has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// How things stand out, where they can.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// A heading.
    Heading,
    /// It went as told.
    Good,
    /// It did not.
    Bad,
    /// Less important.
    Faint,
}

/// A text in a style; plain when it is not a terminal that reads it.
pub(super) fn styled(style: Style, text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match style {
        Style::Heading => "1",
        Style::Good => "32",
        Style::Bad => "31;1",
        Style::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}
