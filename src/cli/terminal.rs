//! Output to standard output and standard error; colours only on a terminal.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::OnceLock,
};

// The first error of standard output, such as a full disk.
static OUTPUT_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Writes an error to standard error and returns the failure exit code.
pub(super) fn fail(message: &str) -> ExitCode {
    // A write error is ignored: the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "qod-gateway: {message}");
    ExitCode::FAILURE
}

/// Writes a line to standard error, beside the output.
pub(super) fn print_note(text: &str) {
    // It is for information.
    _ = writeln!(io::stderr(), "{text}");
}

/// Writes a line to standard output. An error makes the command fail at its end: see [`finish`].
pub(super) fn print_line(text: &str) {
    match writeln!(io::stdout(), "{text}") {
        // A reader that has closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => _ = OUTPUT_ERROR.set(error),
        Ok(()) | Err(_) => {}
    }
}

/// The exit code of a command; a failure if its output is incomplete.
pub(super) fn finish(result: Result<ExitCode, String>) -> ExitCode {
    let code = result.unwrap_or_else(|message| fail(&message));
    match OUTPUT_ERROR.get() {
        Some(error) => fail(&format!("failed to write to standard output: {error}")),
        None => code,
    }
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
    if !io::stdout().is_terminal() {
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
