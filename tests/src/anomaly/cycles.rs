//! Circles of dependencies among operations that took effect (Adya's G0 and G1c).
//!
//! Edges: *ww*, A's value lies right before B's; *wr*, B polled what A sent; *rt*, A had ended before B began. Anti-
//! dependencies (rw) are left out, as in Jepsen: a poll promises no snapshot.

use std::collections::{HashMap, HashSet, VecDeque};

use super::history::{Outcome, Value};
use super::index::{Index, OpIndex};
use super::{Anomaly, Kind};

/// Why one operation comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    WriteWrite,
    WriteRead(Value),
    Realtime,
}

/// Edges by where they begin.
type Graph = Vec<Vec<(OpIndex, Edge)>>;

/// G0, G1c over reads alone, over reads and real time, and over reads and writes: one anomaly for each knot.
pub fn find(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let count = index.operations.len();
    let (mut writes, mut reads, mut real) = (vec![vec![]; count], vec![vec![]; count], vec![vec![]; count]);
    write_edges(index, &mut writes);
    read_edges(index, &mut reads);
    realtime_edges(index, &mut real);
    let any = |_: Edge| true;
    let is_read = |edge: Edge| matches!(edge, Edge::WriteRead(_));
    circles(&[&writes], Kind::G0, any, found);
    circles(&[&writes, &reads], Kind::G1cWithWrites, is_read, found);
    let before = found.len();
    circles(&[&reads], Kind::G1c, any, found);
    if found.len() == before {
        circles(&[&reads, &real], Kind::G1cRealtime, is_read, found);
    }
}

fn write_edges(index: &Index<'_>, graph: &mut Graph) {
    for (&key, order) in &index.orders {
        for pair in order.by_index.windows(2) {
            let writers = pair.iter().filter_map(|value| index.writer_of.get(&(key, *value)).copied());
            if let [before, after] = writers.collect::<Vec<_>>()[..]
                && before != after
                && index.must_have_committed(before)
                && index.must_have_committed(after)
            {
                graph[before].push((after, Edge::WriteWrite));
            }
        }
    }
}

fn read_edges(index: &Index<'_>, graph: &mut Graph) {
    let mut read: Vec<_> = index.readers_of.iter().collect();
    read.sort_unstable();
    let mut seen = HashSet::new();
    for ((key, value), readers) in read {
        let Some(&writer) = index.writer_of.get(&(*key, *value)) else { continue };
        for &reader in readers {
            // What failed has read, too, but nothing can depend on it.
            if reader != writer && index.must_have_committed(reader) && seen.insert((writer, reader)) {
                graph[writer].push((reader, Edge::WriteRead(*value)));
            }
        }
    }
}

/// Only the newest operations that had ended when another began: the others follow through them.
fn realtime_edges(index: &Index<'_>, graph: &mut Graph) {
    let mut events: Vec<(u64, OpIndex, bool)> = Vec::new();
    for (at, operation) in index.operations.iter().enumerate() {
        if operation.steps().is_empty() || operation.outcome == Outcome::Fail {
            continue;
        }
        events.push((operation.invoked, at, false));
        if let Some(completed) = operation.completed.filter(|_| operation.outcome == Outcome::Ok) {
            events.push((completed, at, true));
        }
    }
    events.sort_unstable();
    let mut newest: Vec<OpIndex> = Vec::new();
    let mut behind: HashMap<OpIndex, Vec<OpIndex>> = HashMap::new();
    for (_, at, is_end) in events {
        if is_end {
            let passed = behind.remove(&at).unwrap_or_default();
            newest.retain(|other| !passed.contains(other));
            newest.push(at);
        } else {
            newest.iter().for_each(|before| graph[*before].push((at, Edge::Realtime)));
            behind.insert(at, newest.clone());
        }
    }
}

/// One circle of every knot of the graphs taken together that has an edge which `counts`.
fn circles(graphs: &[&Graph], kind: Kind, counts: impl Fn(Edge) -> bool, found: &mut Vec<Anomaly>) {
    let components = components(graphs);
    let mut told = HashSet::new();
    for (from, to, edge) in edges(graphs) {
        let component = components[from];
        if component == components[to] && counts(edge) && told.insert(component) {
            let mut circle = shortest(graphs, &components, to, from);
            let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
            circle.rotate_left(first);
            let values = circle.iter().zip(circle.iter().cycle().skip(1)).flat_map(|(before, after)| {
                let between = outgoing(graphs, *before).filter(move |(to, _)| to == after);
                between.filter_map(|(_, edge)| match edge {
                    Edge::WriteRead(value) => Some(*value),
                    Edge::WriteWrite | Edge::Realtime => None,
                })
            });
            found.push(Anomaly { kind, key: None, values: values.collect(), operations: circle.clone() });
        }
    }
}

fn outgoing<'a>(graphs: &'a [&Graph], from: OpIndex) -> impl Iterator<Item = &'a (OpIndex, Edge)> {
    graphs.iter().flat_map(move |graph| &graph[from])
}

fn edges<'a>(graphs: &'a [&Graph]) -> impl Iterator<Item = (OpIndex, OpIndex, Edge)> + 'a {
    (0..graphs[0].len())
        .flat_map(move |from| outgoing(graphs, from).map(move |(to, edge)| (from, *to, *edge)))
}

/// Tarjan's strongly connected components, without recursion: a history may be one long chain.
fn components(graphs: &[&Graph]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let count = graphs[0].len();
    let neighbours: Vec<Vec<OpIndex>> =
        (0..count).map(|from| outgoing(graphs, from).map(|(to, _)| *to).collect()).collect();
    let (mut order, mut low, mut component) = (vec![NONE; count], vec![0; count], vec![NONE; count]);
    let (mut stack, mut clock, mut components) = (Vec::new(), 0, 0);
    for root in 0..count {
        let mut calls = if order[root] == NONE { vec![(root, 0)] } else { Vec::new() };
        while let Some((at, child)) = calls.pop() {
            if child == 0 {
                (order[at], low[at]) = (clock, clock);
                clock += 1;
                stack.push(at);
            } else {
                // The child before this one has come back.
                low[at] = low[at].min(low[neighbours[at][child - 1]]);
            }
            let rest = neighbours[at][child..].iter().position(|next| {
                if order[*next] != NONE && component[*next] == NONE {
                    low[at] = low[at].min(order[*next]);
                }
                order[*next] == NONE
            });
            if let Some(skipped) = rest {
                calls.push((at, child + skipped + 1));
                calls.push((neighbours[at][child + skipped], 0));
            } else if low[at] == order[at] {
                while let Some(member) = stack.pop() {
                    component[member] = components;
                    if member == at {
                        break;
                    }
                }
                components += 1;
            }
        }
    }
    component
}

/// The shortest way inside one component.
fn shortest(graphs: &[&Graph], components: &[usize], from: OpIndex, to: OpIndex) -> Vec<OpIndex> {
    let mut came_from: HashMap<OpIndex, OpIndex> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            break;
        }
        for (next, _) in outgoing(graphs, at).filter(|(next, _)| components[*next] == components[from]) {
            if *next != from && !came_from.contains_key(next) {
                came_from.insert(*next, at);
                queue.push_back(*next);
            }
        }
    }
    let mut way = vec![to];
    while let Some(before) = came_from.get(&way[way.len() - 1]).filter(|_| way[way.len() - 1] != from) {
        way.push(*before);
    }
    way.reverse();
    way
}
