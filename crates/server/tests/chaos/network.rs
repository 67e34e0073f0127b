//! The way between the servers: a proxy before each peer port, which knows from the handshake who speaks, and so can
//! treat each direction of each pair by itself. It needs no rights that a test doesn't have.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::link::{Flow, Link, Links, Way};
use crate::random::Random;

/// Pieces on their way in one direction of a connection; who sends more has to wait, as with TCP's window.
const PIECES_MAX: usize = 64;
const PIECE_BYTES_MAX: usize = 16 << 10;

pub struct Network {
    links: Arc<watch::Sender<Links>>,
    random: Random,
}

impl Network {
    pub fn new(random: Random) -> Self {
        Self {
            links: Arc::default(),
            random,
        }
    }

    /// Whoever connects to `public` speaks to `private`.
    pub async fn lead(&mut self, public: u16, private: u16) {
        let listener = TcpListener::bind(("127.0.0.1", public)).await;
        let listener = listener.expect("the port is free");
        let (links, mut random) = (self.links.subscribe(), self.random.branch());
        let target = SocketAddr::from(([127, 0, 0, 1], private));
        tokio::spawn(async move {
            loop {
                let Ok((dialer, _)) = listener.accept().await else {
                    continue;
                };
                // A connection that fails is seen at both its ends.
                tokio::spawn(relay(dialer, target, links.clone(), random.branch()));
            }
        });
    }

    /// Changes one direction between two servers, named by their ids.
    pub fn change(&self, from: u64, to: u64, change: impl FnOnce(&mut Link)) {
        self.links
            .send_modify(|links| links.change(from, to, change));
    }

    /// All is as if nothing had been.
    pub fn mend(&self) {
        self.links.send_modify(Links::mend);
    }

    /// The same in a while, unless it is aborted before.
    pub fn mend_after(&self, time: Duration) -> JoinHandle<()> {
        let links = Arc::clone(&self.links);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            links.send_modify(Links::mend);
        })
    }
}

async fn relay(
    mut dialer: TcpStream,
    target: SocketAddr,
    links: watch::Receiver<Links>,
    mut random: Random,
) -> io::Result<()> {
    let greeting = Greeting::read(&mut dialer).await?;
    let acceptor = TcpStream::connect(target).await?;
    for stream in [&dialer, &acceptor] {
        stream.set_nodelay(true)?;
    }
    let there = Way::new(greeting.from, greeting.to, links.clone());
    let back = Way::new(greeting.to, greeting.from, links);
    let (dialer_says, to_dialer) = dialer.into_split();
    let (acceptor_says, to_acceptor) = acceptor.into_split();
    let asks = Flow::new(there.clone(), random.branch());
    let answers = Flow::new(back.clone(), random.branch());
    let asking = carry(
        greeting.bytes,
        dialer_says,
        asks,
        to_acceptor,
        there.clone(),
    );
    let answering = carry(Vec::new(), acceptor_says, answers, to_dialer, back.clone());
    tokio::select! {
        () = there.refused() => Ok(()),
        () = back.refused() => Ok(()),
        ended = asking => ended,
        ended = answering => ended,
    }
}

/// Until one of the ends is closed, or something on the way breaks the connection.
async fn carry(
    first: Vec<u8>,
    mut from: OwnedReadHalf,
    mut flow: Flow,
    mut to: OwnedWriteHalf,
    mut way: Way,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut piece = first;
        loop {
            let arrives = flow.carry(&mut piece)?;
            if sender.send((arrives, piece)).await.is_err() {
                return Ok(());
            }
            piece = vec![0; PIECE_BYTES_MAX];
            let bytes = from.read(&mut piece).await?;
            if bytes == 0 {
                // What is on its way still arrives.
                return Ok(());
            }
            piece.truncate(bytes);
        }
    };
    let write = async {
        while let Some((arrives, piece)) = receiver.recv().await {
            sleep_until(arrives).await;
            way.opened().await;
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}

/// What a dialer says first, as `crates/net/FORMAT.md` has it.
struct Greeting {
    bytes: Vec<u8>,
    from: u64,
    to: u64,
}

impl Greeting {
    const HEAD_BYTES: usize = 8;
    const FROM: usize = Self::HEAD_BYTES + 8;
    const TO: usize = Self::HEAD_BYTES + 32;

    async fn read(dialer: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = vec![0; Self::HEAD_BYTES];
        dialer.read_exact(&mut bytes).await?;
        let rest = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        bytes.resize(Self::HEAD_BYTES + rest, 0);
        dialer.read_exact(&mut bytes[Self::HEAD_BYTES..]).await?;
        let id = |place: usize| {
            let id = bytes
                .get(place..place + 8)
                .ok_or(io::ErrorKind::InvalidData)?;
            let id = <[u8; 8]>::try_from(id).expect("these are eight");
            Ok::<u64, io::Error>(u64::from_le_bytes(id))
        };
        let (from, to) = (id(Self::FROM)?, id(Self::TO)?);
        Ok(Self { bytes, from, to })
    }
}
