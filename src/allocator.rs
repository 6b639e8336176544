//! Where the memory of this program comes from.

/// Not the C library's, whose heaps grow for as long as mail comes, by pieces that fit no hole (`benches/README.md`). A thread of its
/// own gives back what is not used for ten seconds: large pieces, too, which jemalloc without it gives back at once.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::hint::black_box;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Larger than what jemalloc gives back at once without that thread, in bytes.
    const LARGE: usize = 16 << 20;
    const PAGE: usize = 4096;

    fn use_large() {
        drop(black_box(vec![1_u8; LARGE]));
    }

    /// The number in `file` of procfs that so many others stand before (proc(5)).
    fn number(file: &str, before: usize) -> usize {
        let text = fs::read_to_string(file).unwrap();
        // The name of a program may have spaces.
        let numbers = text.rsplit(')').next().unwrap();
        numbers.split_whitespace().nth(before).unwrap().parse().unwrap()
    }

    #[test]
    fn memory_of_a_large_message_is_used_for_the_next() {
        let faults = || number("/proc/thread-self/stat", 7);
        use_large();
        let before = faults();
        use_large();
        let fresh = faults() - before;
        assert!(fresh < LARGE / PAGE / 10, "{fresh} pages were taken from the system");
    }

    #[test]
    fn memory_that_nobody_uses_goes_back() {
        let resident = || number("/proc/self/statm", 1) * PAGE;
        let many: Vec<_> = (0..8).map(|_| vec![1_u8; LARGE]).collect();
        let most = resident();
        drop(black_box(many));
        let given_up = Instant::now() + Duration::from_secs(120);
        while resident() + 7 * LARGE > most {
            assert!(Instant::now() < given_up, "{} of {most} bytes are still there", resident());
            thread::sleep(Duration::from_millis(50));
        }
    }
}
