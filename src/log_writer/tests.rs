use super::*;

/// An output that fails while it is broken.
#[derive(Clone, Default)]
struct Output {
    written: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> (Arc<LogBuffer>, LogThread<Output>, Output) {
    let (buffer, output) = (Arc::<LogBuffer>::default(), Output::default());
    (Arc::clone(&buffer), LogThread::new(buffer, output.clone()), output)
}

#[test]
fn lines_are_written_in_order() {
    let (buffer, mut thread, output) = log();
    for line in ["one\n", "two\n"] {
        (&*buffer).write_all(line.as_bytes()).unwrap();
    }
    thread.write_pending(Duration::ZERO);
    assert_eq!(&*output.written.lock().unwrap(), b"one\ntwo\n");
    assert_eq!((buffer.dropped(), buffer.is_losing()), (0, false));
}

#[test]
fn lines_that_cannot_be_written_are_dropped_and_counted() {
    let (buffer, mut thread, output) = log();
    output.broken.store(true, Ordering::Relaxed);
    for round in 1..=3 {
        (&*buffer).write_all(b"first\n").unwrap();
        (&*buffer).write_all(b"second\n").unwrap();
        thread.write_pending(Duration::ZERO);
        // The very first line is retained.
        assert_eq!(buffer.dropped_failed.load(Ordering::Relaxed), 2 * round - 1);
        assert!(buffer.is_losing());
    }
    output.broken.store(false, Ordering::Relaxed);
    thread.write_pending(Duration::ZERO);
    assert_eq!(&*output.written.lock().unwrap(), b"first\n");
    assert!(!buffer.is_losing(), "a retried line that was written ends the loss");
}

#[test]
fn lines_beyond_the_bound_are_dropped_and_counted() {
    let (buffer, mut thread, output) = log();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    for _ in 0..1030 {
        (&*buffer).write_all(&line).unwrap();
    }
    assert_eq!(buffer.dropped_full.load(Ordering::Relaxed), 6);
    assert!(buffer.is_losing());
    thread.write_pending(Duration::ZERO);
    assert_eq!(output.written.lock().unwrap().len(), BUFFER_BYTES_MAX);
    assert!(!buffer.is_losing());
}

#[test]
fn chunk_consists_of_complete_lines() {
    let line = [&[b'x'; 1500][..], b"\n"].concat();
    assert_eq!(chunk_length(&line.repeat(4)), 2 * 1501);
    let long = [&[b'x'; 9000][..], b"\n", b"short\n"].concat();
    assert_eq!(chunk_length(&long), 9001);
    assert_eq!(chunk_length(b"a\nb\n"), 4);
}
