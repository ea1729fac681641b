//! The async runtime of a shard thread, and the only door to it for the floors above.
//!
//! One runtime per thread, io_uring or (where that is forbidden) epoll, timers on. Nothing here
//! catches a panic: that happens once, at the top of the shard thread, and is followed by
//! [`abandon_all`].

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use io_uring::IoUring;
use io_uring::opcode;
use monoio::IoUringDriver;
use monoio::LegacyDriver;
use monoio::RuntimeBuilder;

use crate::base::time;
use crate::base::time::Instant;
use crate::net::source;
use crate::net::sweep;

/// Which of the runtime's drivers waits for the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeDriver {
    /// io_uring where the kernel lets us, else legacy.
    Auto,
    Uring,
    /// epoll; works everywhere.
    Legacy,
}

/// Runs `main` on a new runtime of this thread until it is done. Tasks left over end with it.
pub fn run_shard<F, Fut>(driver: RuntimeDriver, main: F) -> io::Result<Fut::Output>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    sweep::reset();
    let with_sweeper = async {
        spawn(sweep::run());
        main().await
    };
    let wants_uring = match driver {
        RuntimeDriver::Auto => is_uring_usable(),
        RuntimeDriver::Uring => true,
        RuntimeDriver::Legacy => false,
    };
    if wants_uring {
        match RuntimeBuilder::<IoUringDriver>::new().enable_timer().build() {
            Ok(mut runtime) => return Ok(runtime.block_on(with_sweeper)),
            // Detected, and then not to be had: locked memory, or a filter since then.
            Err(_) if driver == RuntimeDriver::Auto => {}
            Err(error) => return Err(error),
        }
    }
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    Ok(runtime.block_on(with_sweeper))
}

/// Whether this kernel lets this thread have a ring that knows what the runtime asks of it.
fn is_uring_usable() -> bool {
    let needed = [
        opcode::AsyncCancel::CODE,
        opcode::Close::CODE,
        opcode::PollAdd::CODE,
        opcode::Read::CODE,
        opcode::Timeout::CODE,
    ];
    let mut probe = io_uring::Probe::new();
    let probed = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut probe));
    probed.is_ok() && needed.iter().all(|code| probe.is_supported(*code))
}

/// Starts a task on this thread's runtime. Nobody waits for it.
pub fn spawn<F>(task: F)
where
    F: Future<Output = ()> + 'static,
{
    drop(monoio::spawn(task));
}

/// Whether this thread's runtime waits with io_uring. Only within [`run_shard`].
pub fn is_uring() -> bool {
    !monoio::utils::is_legacy()
}

/// To the millisecond, rounded up. May be dropped at any time.
pub async fn sleep_until(at: Instant) {
    if at == Instant::NEVER {
        return std::future::pending().await;
    }
    monoio::time::sleep(at.since(time::now())).await;
}

pub async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

/// After a caught panic, on the same thread: shuts down and closes every descriptor that the dead
/// tasks still own, and says how many.
pub fn abandon_all() -> usize {
    let count = source::abandon_all();
    sweep::reset();
    count
}

/// "Something changed", between tasks of one thread. A notification before the wait is kept.
#[derive(Default)]
pub struct Signal {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify(&self) {
        self.is_set.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// For one waiter at a time.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.is_set.take() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Until a notification, or until `at`, whichever is first.
    pub async fn wait_until(&self, at: Instant) {
        if at == Instant::NEVER {
            return self.wait().await;
        }
        // Which of the two it was does not matter: the caller looks at everything anyway.
        let _ = monoio::time::timeout(at.since(time::now()), self.wait()).await;
    }
}

/// Lets every other ready task of this thread run once. Not for a runtime's main future, which
/// monoio polls before it looks at the sockets.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::Duration;

    use super::RuntimeDriver;
    use super::Signal;
    use super::is_uring;
    use super::run_shard;
    use super::sleep;
    use super::sleep_until;
    use super::spawn;
    use crate::base::time;
    use crate::base::time::Instant;
    use crate::net::bell::Bell;
    use crate::net::bell::Watch;
    use crate::net::conn::Conn;
    use crate::net::conn::Sweep;
    use crate::net::egress::Driver;
    use crate::net::egress::EgressConfig;
    use crate::net::egress::RingEgress;
    use crate::net::host;
    use crate::net::listen;
    use crate::net::testing::forbid;
    use crate::net::testing::in_ms;
    use crate::net::testing::on_both_runtimes;
    use crate::net::testing::pair;

    #[test]
    fn a_sleeper_wakes_at_its_time_and_not_before() {
        on_both_runtimes(|| async {
            for ms in [0, 1, 7, 70] {
                let (at, late) = (in_ms(ms), in_ms(ms + 1_000));
                sleep_until(at).await;
                assert!(time::now() >= at && time::now() < late);
            }
            sleep_until(Instant::ZERO).await;
        });
    }

    #[test]
    fn auto_does_without_io_uring_where_it_is_forbidden() {
        let thread = std::thread::spawn(|| {
            forbid(&[libc::SYS_io_uring_setup]);
            assert!(run_shard(RuntimeDriver::Uring, || async {}).is_err());
            run_shard(RuntimeDriver::Auto, || async { is_uring() }).unwrap()
        });
        assert!(!thread.join().unwrap());
        let is_allowed = host::features().uring.setup.is_ok();
        assert_eq!(run_shard(RuntimeDriver::Auto, || async { is_uring() }).unwrap(), is_allowed);
    }

    #[test]
    fn a_signal_before_the_wait_is_kept_and_one_after_it_wakes() {
        on_both_runtimes(|| async {
            let signal = Rc::new(Signal::new());
            signal.notify();
            signal.notify();
            signal.wait().await;
            let theirs = Rc::clone(&signal);
            spawn(async move {
                sleep(Duration::from_millis(5)).await;
                theirs.notify();
            });
            let begun = time::now();
            signal.wait().await;
            assert!(time::now().since(begun) >= Duration::from_millis(4));
        });
    }

    #[test]
    fn an_idle_thread_sleeps() {
        on_both_runtimes(|| async {
            let (fd, _peer) = pair();
            spawn(async move {
                let mut conn = Conn::from_fd(fd).unwrap();
                conn.set_deadline(in_ms(60_000), Sweep::Both);
                let _ = conn.recv(&mut [0; 16]).await;
            });
            let addr = SocketAddr::from(([127, 0, 0, 1], 0));
            let mut listeners = listen::bind(&listen::ListenConfig::new(addr, 1)).unwrap();
            let acceptor = listen::Acceptor::new(listeners.fds.remove(0)).unwrap();
            spawn(async move {
                let _ = acceptor.accept_batch(&mut Vec::new()).await;
            });
            let waiter = Bell::new().unwrap().waiter().unwrap();
            spawn(async move { waiter.wait().await.unwrap() });
            let mut peers = Vec::new();
            let mut idle_egress = |driver| {
                let mut egress =
                    RingEgress::new(&EgressConfig { driver, slots_max: 1, buffers_max: 0 })
                        .unwrap();
                let (fd, peer) = pair();
                egress.add(fd, 0).unwrap();
                peers.push(peer);
                egress.submit().unwrap();
                egress.drain_wake();
                egress.reap(&mut Vec::new());
                let watch = Watch::new(egress.wake_fd()).unwrap();
                spawn(async move { watch.readable().await.unwrap() });
                egress
            };
            let egresses = [Driver::Uring, Driver::Epoll].map(&mut idle_egress);
            sleep(Duration::from_millis(20)).await;
            let before = sleeps();
            sleep(Duration::from_millis(600)).await;
            // The bar is 5 a second; our own timer is one, its wheel may add another.
            assert!(sleeps() - before <= 3, "{} in 0.6 s", sleeps() - before);
            for egress in egresses {
                assert!(egress.abandon().is_empty());
            }
        });
    }

    /// How often this thread went to sleep, by the kernel's count.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }
}
