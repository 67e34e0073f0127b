//! A cluster of one's own: replicas that talk in UDP datagrams, a tenth of which are lost on purpose.
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::{error, io, thread};

use little_raft::core::Codec;
use little_raft::{
    Cluster, Entry, Inbox, MemoryStorage, Message, Replica, ReplicaId, StateMachine,
};

/// The socket, where the peers are, and how many packets were sent.
struct Udp(UdpSocket, BTreeMap<ReplicaId, SocketAddr>, u64);

impl Cluster for Udp {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        let socket = self.0.try_clone()?;
        thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while let Ok(bytes) = socket.recv(&mut datagram) {
                // Anybody can send us a datagram: what is no message is dropped.
                let datagram = datagram[..bytes].to_vec();
                let _ = Message::from_bytes(datagram.into()).map(|message| inbox.deliver(message));
            }
        });
        Ok(())
    }

    fn send(&mut self, to: ReplicaId, message: Message) {
        let Udp(socket, peers, sent) = self;
        *sent += 1;
        if let (Some(peer), false) = (peers.get(&to), *sent % 10 == 0) {
            // A full socket buffer loses the datagram, too: the library sends it again.
            let _ = socket.send_to(&message.to_bytes(), peer);
        }
    }

    fn max_message_bytes(&self) -> usize {
        60_000
    }
}

/// Every command, so that the replicas' agreement can be seen.
#[derive(Default)]
struct Journal(Vec<u8>);

impl StateMachine for Journal {
    type Response = ();
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) {
        self.0.extend_from_slice(entry.command);
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
    fn restore(&mut self, snapshot: &mut dyn io::Read) -> io::Result<()> {
        self.0.clear();
        snapshot.read_to_end(&mut self.0).map(drop)
    }
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let addresses = sockets.iter().flat_map(UdpSocket::local_addr);
    let peers: BTreeMap<_, _> = (1..).map(ReplicaId).zip(addresses).collect();
    let mut replicas = Vec::new();
    for (id, socket) in (1..).map(ReplicaId).zip(sockets) {
        let members: Vec<_> = peers.iter().map(|(id, at)| (*id, at.to_string())).collect();
        let replica = Replica::builder(id)
            .members(members)
            .storage(MemoryStorage::new());
        let replica = replica.cluster(Udp(socket, peers.clone(), 0));
        replicas.push(replica.start(Journal::default())?);
    }
    // A proposal lost on its way to the leader ends as "unknown": propose where nothing has to be forwarded.
    replicas[0].read_barrier().wait()?;
    let leader = replicas[0].status().leader.ok_or("no leader")?;
    let leader = replicas.iter().find(|replica| replica.id() == leader);
    for n in 0..1000 {
        leader.ok_or("no leader")?.propose(format!("{n} ")).wait()?;
    }
    let expected = replicas[0].read(|journal| journal.0.clone()).wait()?;
    for replica in &replicas {
        assert_eq!(replica.read(|journal| journal.0.clone()).wait()?, expected);
    }
    let bytes = expected.len();
    println!("agreed on {bytes} bytes, with every tenth packet lost");
    Ok(())
}
