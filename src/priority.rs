//! Threads that give way to those that answer mail. None of them may hold for long what an answer waits for.

/// How much less of a busy processor such a thread gets: a third of what one that answers gets.
const NICENESS: i32 = 5;

/// Has this thread give way, for as long as it lives: what it does may be late, and an answer may not. Linux keeps niceness by thread.
pub(crate) fn give_way() {
    // Where that is forbidden, it works on as one among equals.
    let _ = rustix::process::nice(NICENESS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let niceness = || rustix::process::nice(0).unwrap();
        let before = niceness();
        let after = std::thread::spawn(move || {
            give_way();
            niceness()
        });
        assert_eq!(after.join().unwrap(), (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
