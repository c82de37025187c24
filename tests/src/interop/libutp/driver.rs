//! The loop around libutp: datagrams in, time-outs, orders of the application, datagrams out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use super::ffi::{Context, Event, Id};

/// What the application wants.
pub(super) enum Order {
    Connect(SocketAddr, Reply<u64>),
    Accept(Reply<u64>),
    /// Some data, as soon as there is any; empty at the end.
    Read(u64, Reply<Vec<u8>>),
    /// Answered when libutp has taken all of it.
    Write(u64, Vec<u8>, Reply<()>),
    /// Answered when the FIN is queued, which is behind everything written before.
    Finish(u64, Reply<()>),
    Close(u64),
    Stop,
}

type Reply<T> = oneshot::Sender<io::Result<T>>;

/// Runs until it is told to stop.
pub(super) async fn run(socket: &UdpSocket, mut inbox: mpsc::UnboundedReceiver<Order>, seed: u64) {
    let mut driver = Driver {
        context: Context::new(seed),
        streams: HashMap::new(),
        numbers: HashMap::new(),
        next: 0,
        incoming: VecDeque::new(),
        acceptors: VecDeque::new(),
    };
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                None | Some(Order::Stop) => return,
                Some(order) => driver.obey(order),
            },
            _ = socket.readable() => driver.receive(socket),
            _ = tick.tick() => driver.context.check_timeouts(),
        }
        driver.settle();
        // The socket is drained, or the application has read: both may have left acknowledgements to send.
        driver.context.issue_acks();
        while let Some((to, datagram)) = driver.context.next_datagram() {
            // Waits while the socket is full; any other error is about this datagram only.
            let _ = socket.send_to(&datagram, to).await;
        }
    }
}

struct Driver {
    context: Context,
    streams: HashMap<u64, Stream>,
    numbers: HashMap<Id, u64>,
    /// Number of the next stream: unlike libutp's ids, never used twice.
    next: u64,
    incoming: VecDeque<u64>,
    acceptors: VecDeque<Reply<u64>>,
}

/// A connection, kept until the application closes it and libutp destroys it.
struct Stream {
    id: Option<Id>,
    connecting: Option<Reply<u64>>,
    inbox: Vec<u8>,
    ended: bool,
    failed: Option<io::ErrorKind>,
    reader: Option<Reply<Vec<u8>>>,
    writers: VecDeque<(Vec<u8>, usize, Reply<()>)>,
    finishing: Option<Reply<()>>,
    closed: bool,
}

impl Driver {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Connect(to, reply) => {
                let id = self.context.connect(to);
                let number = self.adopt(id);
                self.with(number, |stream| stream.connecting = Some(reply));
            }
            Order::Accept(reply) => self.acceptors.push_back(reply),
            Order::Read(number, reply) => self.with(number, |stream| stream.reader = Some(reply)),
            Order::Write(number, data, reply) => {
                self.with(number, |stream| stream.writers.push_back((data, 0, reply)));
            }
            Order::Finish(number, reply) => self.with(number, |stream| stream.finishing = Some(reply)),
            Order::Close(number) => {
                let Some(stream) = self.streams.get_mut(&number) else { return };
                stream.closed = true;
                match stream.id {
                    // One that failed was closed then.
                    Some(id) if stream.failed.is_none() => self.context.close(id),
                    Some(_) => {}
                    None => drop(self.streams.remove(&number)),
                }
            }
            Order::Stop => {}
        }
    }

    fn receive(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; 4096]; // larger than any uTP packet on an Ethernet path
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => self.context.process(&buffer[..length], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {} // the other side's port is gone: libutp finds out by itself
            }
        }
    }

    /// Takes what libutp has to say, and lets everybody who waits go on who can.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.context.next_event() {
                self.note(event);
            }
            while !self.acceptors.is_empty()
                && let Some(number) = self.incoming.pop_front()
                && let Some(reply) = self.acceptors.pop_front()
            {
                let _ = reply.send(Ok(number));
            }
            let context = &self.context;
            if !self.streams.values_mut().any(|stream| stream.go_on(context)) {
                return;
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Accepted(id) => {
                let number = self.adopt(id);
                self.incoming.push_back(number);
            }
            Event::Connected(id) => {
                let number = self.numbers.get(&id).copied();
                self.named(id, |stream| {
                    if let (Some(reply), Some(number)) = (stream.connecting.take(), number) {
                        let _ = reply.send(Ok(number));
                    }
                });
            }
            Event::Data(id, data) => self.named(id, |stream| stream.inbox.extend_from_slice(&data)),
            Event::End(id) => self.named(id, |stream| stream.ended = true),
            Event::Failed(id, kind) => {
                let mut first = false;
                self.named(id, |stream| {
                    first = stream.failed.replace(kind).is_none() && !stream.closed;
                    if let Some(reply) = stream.connecting.take() {
                        let _ = reply.send(Err(kind.into()));
                    }
                });
                if first {
                    self.context.close(id);
                }
            }
            Event::Destroyed(id) => {
                if let Some(number) = self.numbers.remove(&id)
                    && let Some(stream) = self.streams.get_mut(&number)
                {
                    stream.id = None;
                    if stream.closed {
                        self.streams.remove(&number);
                    }
                }
            }
        }
    }

    fn adopt(&mut self, id: Id) -> u64 {
        let number = self.next;
        self.next += 1;
        self.numbers.insert(id, number);
        self.streams.insert(number, Stream::new(id));
        number
    }

    fn with(&mut self, number: u64, act: impl FnOnce(&mut Stream)) {
        // A stream that is unknown drops the order, and with it the reply: its sender learns that it is gone.
        if let Some(stream) = self.streams.get_mut(&number) {
            act(stream);
        }
    }

    fn named(&mut self, id: Id, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.numbers.get(&id).and_then(|number| self.streams.get_mut(number)) {
            act(stream);
        }
    }
}

impl Stream {
    fn new(id: Id) -> Self {
        Self {
            id: Some(id),
            connecting: None,
            inbox: Vec::new(),
            ended: false,
            failed: None,
            reader: None,
            writers: VecDeque::new(),
            finishing: None,
            closed: false,
        }
    }

    /// Serves whoever waits. Whether libutp was called, and so may have more to say.
    fn go_on(&mut self, context: &Context) -> bool {
        let mut called = self.serve_reader(context);
        if let Some(kind) = self.failed {
            self.writers.drain(..).for_each(|(.., reply)| _ = reply.send(Err(kind.into())));
            self.finishing.take().map(|reply| reply.send(Err(kind.into())));
            return called;
        }
        let Some(id) = self.id else { return called };
        while let Some((data, written, _)) = self.writers.front_mut() {
            let taken = context.write(id, &data[*written..]);
            *written += taken;
            called |= taken > 0;
            if *written < data.len() {
                return called;
            }
            if let Some((.., reply)) = self.writers.pop_front() {
                let _ = reply.send(Ok(()));
            }
        }
        if let Some(reply) = self.finishing.take() {
            context.shutdown_write(id);
            let _ = reply.send(Ok(()));
            called = true;
        }
        called
    }

    fn serve_reader(&mut self, context: &Context) -> bool {
        if self.inbox.is_empty() && !self.ended && self.failed.is_none() && self.id.is_some() {
            return false;
        }
        let Some(reply) = self.reader.take() else { return false };
        if self.inbox.is_empty() {
            let _ = match self.failed {
                Some(kind) if !self.ended => reply.send(Err(kind.into())),
                _ => reply.send(Ok(Vec::new())),
            };
            return false;
        }
        let data = std::mem::take(&mut self.inbox);
        let bytes = data.len();
        let _ = reply.send(Ok(data));
        self.id.is_some_and(|id| {
            context.consumed(id, bytes);
            true
        })
    }
}

const TICK: Duration = Duration::from_millis(50); // libutp itself looks every 500 ms; its clients call it more often

const BATCH: usize = 256; // datagrams before the application's orders get a turn
