//! The writer of the log: a bounded buffer, and a thread that writes it to standard error. No thread that
//! logs waits for the reader of standard error. Lines that cannot be written are dropped and counted.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Tick},
    metrics::Metrics,
};

// About 2,000 audit records.
const BUFFER_BYTES_MAX: usize = 1 << 20;
// Writes of at most this size to a pipe are not interleaved with those of other processes (PIPE_BUF).
const CHUNK_BYTES_MAX: usize = 4096;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
// The time between two batches, so that the writer is not woken for each line.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);
// It does not wait any longer once there are as many bytes.
const BATCH_BYTES: usize = BUFFER_BYTES_MAX / 4;
const NONBLOCKING_RETRY_INTERVAL: Duration = Duration::from_millis(10);
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The lines that are not written yet, and the number of those that are lost.
#[derive(Debug, Default)]
pub struct LogBuffer {
    pending: Mutex<PendingLines>,
    filled: Condvar,
    written: Condvar,
    /// Lines that were dropped because the buffer was full.
    dropped_full: AtomicU64,
    /// Lines that were dropped because writing failed.
    dropped_failed: AtomicU64,
    /// Whether lines were dropped since the last successful write.
    is_losing: AtomicBool,
}

#[derive(Debug, Default)]
struct PendingLines {
    bytes: Vec<u8>,
    is_writing: bool,
}

/// Writes the lines that remain when it is dropped, for at most one second.
pub struct LogFlush(Arc<LogBuffer>);

/// The thread that writes.
struct LogThread<W> {
    buffer: Arc<LogBuffer>,
    output: W,
    /// The first line that could not be written. It is retried until it is written.
    retained: Vec<u8>,
    reported: u64,
    clock: Clock,
    last_batch: Tick,
}

/// Starts the writer of standard error.
pub fn start() -> io::Result<(Arc<LogBuffer>, LogFlush)> {
    // The standard library's handle has a lock.
    let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let buffer = Arc::<LogBuffer>::default();
    let mut thread = LogThread::new(Arc::clone(&buffer), output);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        loop {
            thread.write_pending(RETRY_INTERVAL);
        }
    })?;
    Ok((Arc::clone(&buffer), LogFlush(buffer)))
}

impl LogBuffer {
    /// Whether lines are being lost.
    pub fn is_losing(&self) -> bool {
        self.is_losing.load(Ordering::Relaxed)
    }

    /// Updates the counters of dropped lines.
    pub fn update_metrics(&self, metrics: &Metrics) {
        metrics.set_log_lines_dropped("full", self.dropped_full.load(Ordering::Relaxed));
        metrics.set_log_lines_dropped("failed", self.dropped_failed.load(Ordering::Relaxed));
    }

    fn dropped(&self) -> u64 {
        self.dropped_full.load(Ordering::Relaxed) + self.dropped_failed.load(Ordering::Relaxed)
    }

    fn count_dropped(&self, counter: &AtomicU64, lines: u64) {
        counter.fetch_add(lines, Ordering::Relaxed);
        self.is_losing.store(true, Ordering::Relaxed);
    }

    fn push(&self, line: &[u8]) {
        let mut pending = self.lock();
        if pending.bytes.len() + line.len() > BUFFER_BYTES_MAX {
            drop(pending);
            self.count_dropped(&self.dropped_full, 1);
            return;
        }
        let before = pending.bytes.len();
        pending.bytes.extend_from_slice(line);
        let after = pending.bytes.len();
        drop(pending);
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, PendingLines> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_within(&self, limit: Duration) {
        let has_lines =
            |pending: &mut PendingLines| pending.is_writing || !pending.bytes.is_empty();
        // The result says whether the time has passed.
        _ = self.written.wait_timeout_while(self.lock(), limit, has_lines);
    }
}

impl Write for &LogBuffer {
    /// Takes one line. Never fails: an error would make `tracing` write to standard error itself.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogFlush {
    fn drop(&mut self) {
        self.0.flush_within(FLUSH_MAX);
    }
}

impl<W: Write> LogThread<W> {
    fn new(buffer: Arc<LogBuffer>, output: W) -> Self {
        let clock = Clock::system();
        let last_batch = clock.tick();
        Self { buffer, output, retained: Vec::new(), reported: 0, clock, last_batch }
    }

    /// Waits for lines and writes them. Returns after `retry` if there are none and the last write failed.
    fn write_pending(&mut self, retry: Duration) {
        let batch = self.next_batch(retry);
        if self.write_batch(&batch) {
            self.report_recovery();
        }
        self.last_batch = self.clock.tick();
        self.buffer.lock().is_writing = false;
        self.buffer.written.notify_all();
    }

    fn next_batch(&self, retry: Duration) -> Vec<u8> {
        let is_empty = |pending: &mut PendingLines| pending.bytes.is_empty();
        let pending = self.buffer.lock();
        let waited = if self.retained.is_empty() {
            self.buffer.filled.wait_while(pending, is_empty)
        } else {
            let waited = self.buffer.filled.wait_timeout_while(pending, retry, is_empty);
            waited
                .map(|(pending, _)| pending)
                .map_err(|error| PoisonError::new(error.into_inner().0))
        };
        let pending = waited.unwrap_or_else(PoisonError::into_inner);
        let is_small = |pending: &mut PendingLines| pending.bytes.len() < BATCH_BYTES;
        let left = BATCH_INTERVAL.saturating_sub(self.clock.elapsed(self.last_batch));
        let batch = self.buffer.filled.wait_timeout_while(pending, left, is_small);
        let (mut pending, _) = batch.unwrap_or_else(PoisonError::into_inner);
        pending.is_writing = true;
        std::mem::take(&mut pending.bytes)
    }

    // Returns whether everything was written.
    fn write_batch(&mut self, batch: &[u8]) -> bool {
        let retained = std::mem::take(&mut self.retained);
        if write_fully(&mut self.output, &retained).is_err() {
            self.retained = retained;
            self.count_failed(batch);
            return false;
        }
        let mut rest = batch;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at_checked(chunk_length(rest)).unwrap_or((rest, &[]));
            if write_fully(&mut self.output, chunk).is_err() {
                let (first, others) =
                    rest.split_at_checked(line_length(rest)).unwrap_or((rest, &[]));
                first.clone_into(&mut self.retained);
                self.count_failed(others);
                return false;
            }
            rest = after;
        }
        true
    }

    fn count_failed(&self, lines: &[u8]) {
        let count = lines.split_inclusive(|byte| *byte == b'\n').count();
        if count > 0 {
            self.buffer.count_dropped(&self.buffer.dropped_failed, count as u64);
        }
    }

    fn report_recovery(&mut self) {
        if !self.buffer.is_losing.swap(false, Ordering::Relaxed) {
            return;
        }
        let dropped = self.buffer.dropped();
        tracing::warn!(
            event = "log_lines_dropped",
            count = dropped - self.reported,
            "log lines were dropped: standard error was not read fast enough, or could not be written"
        );
        self.reported = dropped;
    }
}

// The length of the first line, with its end.
fn line_length(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

// The length of the first lines that one write can take; at least one line.
fn chunk_length(lines: &[u8]) -> usize {
    let some = lines.get(..CHUNK_BYTES_MAX).unwrap_or(lines);
    some.iter().rposition(|byte| *byte == b'\n').map_or_else(|| line_length(lines), |end| end + 1)
}

fn write_fully(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process has made standard error non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(NONBLOCKING_RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
