//! What bench/core.ts does, with noraft: three nodes in one thread, a network that delivers at once, and a disk
//! that is durable at once. `noraft BATCH MS` prints the commands that were committed per second of user CPU.
use noraft::{Action, LogPosition, Message, Node, NodeId};

const WARM_UP_MS: f64 = 300.0;
/// How many batches are committed between two looks at the clock, which is a file in /proc.
const BATCHES_PER_LOOK: u64 = 256;

struct Group {
    nodes: Vec<Node>,
    /// Whether a node had an input since its actions were last taken.
    is_due: Vec<bool>,
    inbox: Vec<(usize, Message)>,
}

impl Group {
    /// A group whose first node leads.
    fn elect() -> Self {
        let ids: Vec<NodeId> = (0..3).map(NodeId::new).collect();
        let mut nodes: Vec<Node> = ids.iter().map(|&id| Node::start(id)).collect();
        nodes[0].create_cluster(&ids);
        let mut group = Group { nodes, is_due: vec![true; 3], inbox: Vec::new() };
        group.settle();
        if !group.nodes[0].role().is_leader() {
            group.nodes[0].handle_election_timeout();
            group.is_due[0] = true;
            group.settle();
        }
        assert!(group.nodes[0].role().is_leader(), "the first node leads");
        group
    }

    fn propose(&mut self, count: u64) -> LogPosition {
        let mut position = LogPosition::ZERO;
        for _ in 0..count {
            position = self.nodes[0].propose_command();
        }
        self.is_due[0] = true;
        position
    }

    /// Carries out what each node with new input wants done, until nothing is left to do.
    fn settle(&mut self) {
        while self.is_due.contains(&true) {
            for at in 0..self.nodes.len() {
                if std::mem::replace(&mut self.is_due[at], false) {
                    self.carry_out(at);
                }
            }
            for (to, message) in self.inbox.drain(..) {
                self.nodes[to].handle_message(&message).expect("a message is handled");
                self.is_due[to] = true;
            }
        }
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(action) = self.nodes[at].actions_mut().next() {
            match action {
                Action::BroadcastMessage(message) => {
                    for to in (0..self.nodes.len()).filter(|&to| to != at) {
                        self.inbox.push((to, message.clone()));
                    }
                }
                Action::SendMessage(to, message) => self.inbox.push((to.get() as usize, message)),
                _ => {}
            }
        }
    }

    /// The commands committed within `ms` of user CPU, and the CPU that it took.
    fn run(&mut self, batch: u64, ms: f64) -> (u64, f64) {
        let began = cpu_ms();
        let mut commands = 0;
        loop {
            for _ in 0..BATCHES_PER_LOOK {
                let position = self.propose(batch);
                self.settle();
                assert!(self.nodes[0].get_commit_status(position).is_committed());
                commands += batch;
            }
            let spent = cpu_ms() - began;
            if spent >= ms {
                return (commands, spent);
            }
        }
    }
}

/// The user CPU of this process, from /proc: in units of 10 ms.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields[11].parse::<f64>().expect("the time is a number") * 10.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let batch = arguments[1].parse().expect("the batch is a number");
    let ms = arguments[2].parse().expect("the time is a number");
    let mut group = Group::elect();
    group.run(batch, WARM_UP_MS);
    let (commands, spent) = group.run(batch, ms);
    println!("{:.0}", commands as f64 * 1000.0 / spent);
}
