//! The promise that a commit makes: a cloneable future that resolves once, for every waiter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::StoreError;

/// Resolves when a commit reached its durability, or failed. Cheap to clone; needs no runtime.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Mutex<State>>);

/// The committing side of a [`Ticket`]. Dropped unresolved, the ticket fails with [`StoreError::Closed`].
#[derive(Debug)]
pub struct TicketResolver(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
enum State {
    Waiting(Vec<Waker>),
    Done(Result<(), StoreError>),
}

impl Ticket {
    /// A ticket and what resolves it.
    pub fn new() -> (Ticket, TicketResolver) {
        let state = Arc::new(Mutex::new(State::Waiting(Vec::new())));
        (Ticket(state.clone()), TicketResolver(Some(state)))
    }

    /// A ticket that has resolved.
    pub fn resolved(result: Result<(), StoreError>) -> Ticket {
        Ticket(Arc::new(Mutex::new(State::Done(result))))
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<Result<(), StoreError>> {
        match &*self.0.lock() {
            State::Waiting(_) => None,
            State::Done(result) => Some(result.clone()),
        }
    }
}

impl TicketResolver {
    /// Resolves the ticket and wakes its waiters.
    pub fn resolve(mut self, result: Result<(), StoreError>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<(), StoreError>) {
        let Some(state) = self.0.take() else { return };
        let previous = std::mem::replace(&mut *state.lock(), State::Done(result));
        if let State::Waiting(wakers) = previous {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for TicketResolver {
    fn drop(&mut self) {
        self.finish(Err(StoreError::Closed));
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.lock() {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Waiting(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_resolver_fails_the_ticket() {
        let (ticket, resolver) = Ticket::new();
        assert!(ticket.outcome().is_none());
        drop(resolver);
        assert!(matches!(ticket.outcome(), Some(Err(StoreError::Closed))));
    }
}
