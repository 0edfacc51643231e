//! The timeline of one close as a drawing: what it waited for, how long, and what became of its
//! work requests. One file that refers to nothing else, in the colours of its reader's screen.

mod scale;

use self::scale::{Place, STATES_MAX, Scale};
use super::drains::{move_to_error, result};
use super::svg::{Anchor, Svg};
use super::table::span;
use crate::drains::{Account, DrainRecord, Outcome, Stay};

const STYLE: &str = include_str!("timeline/style.css");

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 28.0;
/// Names of states and queues end here.
const GUTTER: f64 = 124.0;
/// Bars lie between these.
const LEFT: f64 = GUTTER + 14.0;
const RIGHT: f64 = WIDTH - MARGIN - 24.0;
const BAR: f64 = 18.0;
/// From one state to the next, and from one note to the next.
const ROW: f64 = 28.0;
const NOTE: f64 = 16.0;

/// Kicks that are drawn one by one.
const KICKS_DRAWN: u32 = 48;

/// Characters of a name that a line has room for.
const NAME_MAX: usize = 118;

/// Width of a text of 11 pixels in the widest of the usual fonts, about.
fn width_of(text: &str) -> f64 {
    text.chars().map(|_| 6.1).sum()
}

/// What a note is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    Late,
    Bad,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Late => "late",
            Self::Bad => "bad",
        }
    }

    fn of(ok: bool) -> Self {
        if ok { Self::Good } else { Self::Bad }
    }
}

struct Note {
    mark: Mark,
    text: String,
}

/// A self-contained SVG.
pub(super) fn draw(drain: &DrainRecord) -> String {
    let path = &drain.path[..drain.path.len().min(STATES_MAX)];
    let scale = Scale::of(path, LEFT, RIGHT);
    let notes: Vec<Vec<Note>> = path.iter().map(|stay| notes(drain, stay)).collect();
    let rows: f64 = notes.iter().map(|notes| height(notes)).sum();

    let head = 150.0;
    let top = head + 22.0;
    let axis = top + rows + 4.0;
    let account = axis + 58.0;
    let size = (WIDTH, account + 72.0);

    let mut svg = Svg::new();
    svg.rect("card", (0.5, 0.5), (size.0 - 1.0, size.1 - 1.0), 10.0);
    header(&mut svg, drain);
    grid(&mut svg, path, &scale, (top, axis));
    cause(&mut svg, drain, scale.zero, (head, axis));
    let mut y = top;
    for ((stay, place), notes) in path.iter().zip(&scale.places).zip(&notes) {
        state(&mut svg, drain, stay, *place, y);
        draw_notes(&mut svg, notes, *place, y + BAR);
        y += height(notes);
    }
    accounts(&mut svg, drain, account);
    let drawn_by = concat!("sluice ", env!("CARGO_PKG_VERSION"));
    svg.text("small", (RIGHT, size.1 - 18.0), Anchor::End, drawn_by);
    let about = format!("{} {}: {}", drain.host_nqn, drain.peer, drain.cause);
    svg.finish(size, STYLE, &title(drain), &about)
}

fn title(drain: &DrainRecord) -> String {
    match drain.cntlid {
        Some(cntlid) => format!("Drain {}: controller {cntlid}, queue {}", drain.id, drain.qid),
        None => format!("Drain {}: queue {} of no controller", drain.id, drain.qid),
    }
}

/// The middle of a long name gives way.
fn short(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_MAX {
        return name.to_owned();
    }
    let half = NAME_MAX / 2 - 1;
    let head: String = name.chars().take(half).collect();
    let tail: String = name.chars().skip(count - half).collect();
    format!("{head} \u{2026} {tail}")
}

fn header(svg: &mut Svg, drain: &DrainRecord) {
    let right = WIDTH - MARGIN;
    svg.text("title", (MARGIN, 42.0), Anchor::Start, &title(drain));
    let outcome = drain.outcome.as_str();
    let class = match drain.outcome {
        Outcome::Clean => "good",
        Outcome::Late => "late",
        Outcome::Quarantined => "bad",
    };
    let pill = width_of(outcome) * 1.2 + 26.0;
    svg.rect(class, (right - pill, 26.0), (pill, 22.0), 11.0);
    svg.text("pill", (right - pill / 2.0, 41.0), Anchor::Middle, outcome);
    svg.text("dim", (right - pill - 12.0, 41.0), Anchor::End, &drain.at);

    let device = format!(
        "{} (provider {}, queue pair {}, reactor {})",
        drain.device, drain.provider, drain.qp_number, drain.reactor
    );
    let host = if drain.host_nqn.is_empty() { "unknown" } else { &drain.host_nqn };
    let facts = [
        ("host", host),
        ("subsystem", &drain.subsystem_nqn),
        ("peer", &format!("{} on {device}", drain.peer)),
    ];
    let mut y = 68.0;
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        svg.text("dim", (MARGIN, y), Anchor::Start, name);
        svg.text("", (MARGIN + 76.0, y), Anchor::Start, &short(value));
        y += 19.0;
    }
}

/// What began the close, where it begins.
fn cause(svg: &mut Svg, drain: &DrainRecord, zero: f64, (top, bottom): (f64, f64)) {
    svg.line("cause", (zero, top), (zero, bottom));
    let flag = [(zero - 5.0, top - 5.0), (zero + 5.0, top - 5.0), (zero, top + 4.0)];
    svg.polygon("cause-mark", &flag);
    let mut parts = vec![("bold", drain.cause.clone())];
    if !drain.merged_causes.is_empty() {
        parts.push(("dim", format!(", then {}", drain.merged_causes.join(", "))));
    }
    svg.spans((zero + 11.0, top + 3.0), &parts);
}

/// Lines at the ends of states, and their times below.
fn grid(svg: &mut Svg, path: &[Stay], scale: &Scale, (top, bottom): (f64, f64)) {
    let close = || path.iter().zip(&scale.places).filter(|(_, place)| !place.before);
    let total = close().map(|(stay, _)| stay.entered_us.unsigned_abs()).max().unwrap_or(0);
    let (name, unit, decimals) = match total {
        0..1_000 => ("microseconds", 1, 0),
        1_000..1_000_000 => ("milliseconds", 1_000, 3),
        1_000_000.. => ("seconds", 1_000_000, 6),
    };
    let mut last = f64::NEG_INFINITY;
    for (stay, place) in close() {
        // States that took no time share a line with the one before.
        if place.x - last < 1.0 {
            continue;
        }
        last = place.x;
        svg.line("grid", (place.x, top), (place.x, bottom));
        let (whole, rest) = (stay.entered_us / unit, stay.entered_us % unit);
        let text = match (stay.entered_us, decimals) {
            (0, _) | (_, 0) => whole.to_string(),
            (_, decimals) => format!("{whole}.{rest:0decimals$}"),
        };
        svg.text("small", (place.x, bottom + 15.0), Anchor::Middle, &text);
    }
    svg.line("axis", (scale.zero, bottom), (RIGHT, bottom));
    let scaled = if scale.linear {
        ""
    } else {
        "; not to scale: a state's width grows with the cube root of its time"
    };
    let text = format!("{name} from the first cause{scaled}");
    svg.text("small", (RIGHT, bottom + 34.0), Anchor::End, &text);
}

fn class_of(state: &str) -> &'static str {
    match state {
        "accepting" | "live" => "before",
        "quiesce" | "linger" | "closing" => "orderly",
        "erroring" => "erroring",
        "destroying" | "id closing" => "destroying",
        "reclaiming" => "reclaiming",
        "dead" => "good",
        "quarantined" => "bad",
        // The waits for flushed completions, those of a shared receive queue included.
        _ => "flushing",
    }
}

fn state(svg: &mut Svg, drain: &DrainRecord, stay: &Stay, place: Place, y: f64) {
    let base = y + BAR / 2.0 + 4.0;
    svg.text("state", (GUTTER, base), Anchor::End, &stay.state);
    let destroy_failed = drain.destroy.as_ref().is_some_and(|returned| !returned.ok);
    let class = match stay.state.as_str() {
        "destroying" if destroy_failed => "bad",
        state => class_of(state),
    };
    let end = place.x + place.width;
    if is_end(&stay.state) {
        let middle = y + BAR / 2.0;
        let corners =
            [(end - 8.0, middle), (end, middle - 8.0), (end + 8.0, middle), (end, middle + 8.0)];
        svg.polygon(class, &corners);
        return;
    }
    if place.width == 0.0 {
        svg.rect(class, (end - 1.5, y), (3.0, BAR), 1.5);
    } else {
        svg.rect(class, (place.x, y), (place.width, BAR), 3.0);
    }
    if stay.state == "flushing" {
        kicks(svg, drain.kicks, place, y);
    }
    if drain.deadlines.iter().any(|met| met.state == stay.state) {
        let class = if is_our_turn(&stay.state) { "before" } else { "late" };
        svg.rect(class, (end - 2.5, y - 4.0), (5.0, BAR + 8.0), 2.0);
    }
    let time = span(stay.lasted_us);
    let mut inside = (place.x, place.width);
    if place.before {
        broken(svg, place, y);
        inside = (place.x + 16.0, place.width - 16.0);
    }
    let needed = width_of(&time) + 8.0;
    let (class, x, anchor) = if needed <= inside.1 {
        ("inside", inside.0 + inside.1 / 2.0, Anchor::Middle)
    } else if end + needed <= RIGHT {
        ("small", end + 6.0, Anchor::Start)
    } else {
        ("small", place.x - 6.0, Anchor::End)
    };
    svg.text(class, (x, base), anchor, &time);
}

/// Nothing is late when the deadline of this state is met: it is our turn to close then.
fn is_our_turn(state: &str) -> bool {
    state == "linger"
}

fn is_end(state: &str) -> bool {
    matches!(state, "dead" | "quarantined")
}

/// Two strokes in the colour of the paper: the bar was longer.
fn broken(svg: &mut Svg, place: Place, y: f64) {
    for x in [place.x + 5.0, place.x + 11.0] {
        let slant =
            [(x, y + BAR + 1.0), (x + 2.5, y + BAR + 1.0), (x + 6.5, y - 1.0), (x + 4.0, y - 1.0)];
        svg.polygon("break", &slant);
    }
}

/// Repeated moves to ERR, on the bar, in even distances as they are made.
fn kicks(svg: &mut Svg, kicks: u32, place: Place, y: f64) {
    let drawn = kicks.min(KICKS_DRAWN);
    for n in 1..=drawn {
        let x = place.x + place.width * f64::from(n) / f64::from(drawn + 1);
        svg.line("kick", (x, y - 5.0), (x, y - 1.0));
    }
}

fn height(notes: &[Note]) -> f64 {
    notes.iter().map(|_| NOTE).sum::<f64>() + ROW
}

/// What happened in a state.
fn notes(drain: &DrainRecord, stay: &Stay) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |mark, text| notes.push(Note { mark, text });
    let both = drain.send.plus(&drain.receive);
    if let Some(returned) = drain.move_to_error.as_ref().filter(|_| stay.state == "erroring") {
        note(Mark::of(returned.ok), format!("move to ERR: {}", move_to_error(drain)));
    }
    if stay.state == "destroying"
        && let Some(returned) = &drain.destroy
    {
        let took = drain.destroy_us.map(|us| format!(", took {}", span(us))).unwrap_or_default();
        note(Mark::of(returned.ok), format!("destroy: {}{took}", result(returned)));
    }
    if stay.state == "id closing" && both.reclaimed > 0 {
        let text = format!("{} work requests reclaimed by the destroy", both.reclaimed);
        note(Mark::Late, text);
    }
    if stay.state == "quarantined" {
        note(Mark::Bad, format!("{} work requests given up, with their memory", both.leaked));
    }
    if let Some(met) = drain.deadlines.iter().find(|met| met.state == stay.state) {
        let mark = if is_our_turn(&met.state) { Mark::Good } else { Mark::Late };
        note(mark, format!("ended at its deadline, without {}", met.waited_for));
    }
    notes
}

fn draw_notes(svg: &mut Svg, notes: &[Note], place: Place, below: f64) {
    for (n, note) in (1_u8..).zip(notes) {
        let base = below + NOTE * f64::from(n) - 2.0;
        let needed = width_of(&note.text) + 14.0;
        let x = if place.x + needed <= RIGHT { place.x + 6.0 } else { (RIGHT - needed).max(LEFT) };
        svg.circle(note.mark.class(), (x, base - 4.0), 3.5);
        let class = format!("note {}", note.mark.class());
        svg.text(&class, (x + 9.0, base), Anchor::Start, &note.text);
    }
}

/// The account of each queue, as a line in proportion and in words.
fn accounts(svg: &mut Svg, drain: &DrainRecord, top: f64) {
    const LINE: f64 = 250.0;
    for (n, (name, account)) in
        (0_u8..).zip([("send queue", &drain.send), ("receive queue", &drain.receive)])
    {
        let y = top + 26.0 * f64::from(n);
        svg.text("state", (GUTTER, y + 11.0), Anchor::End, name);
        svg.rect("track", (LEFT, y), (LINE, 14.0), 3.0);
        let parts = parts(account);
        let mut x = LEFT;
        for (class, _, count) in parts {
            let width = LINE * count as f64 / account.posted.max(1) as f64;
            svg.rect(class, (x, y), (width.min(LEFT + LINE - x), 14.0), 3.0);
            x = (x + width).min(LEFT + LINE);
        }
        let mut words = vec![("bold", format!("{}", account.posted)), ("", " posted =".to_owned())];
        let counted = parts.into_iter().filter(|(_, _, count)| *count > 0);
        for (n, (class, word, count)) in counted.enumerate() {
            words.push(("", if n == 0 { " " } else { " + " }.to_owned()));
            words.push((class, "\u{25a0} ".to_owned()));
            words.push((if class == "leaked" { "bad" } else { "" }, format!("{count} {word}")));
        }
        if account.posted == 0 {
            words.push(("", " 0".to_owned()));
        }
        if account.leaked == 0 {
            words.push(("dim", "; 0 leaked".to_owned()));
        }
        svg.spans((LEFT + LINE + 14.0, y + 11.0), &words);
    }
}

fn parts(account: &Account) -> [(&'static str, &'static str, u64); 5] {
    [
        ("completed", "completed", account.completed),
        ("flushed", "flushed", account.flushed),
        ("in-order", "retired in order", account.retired_in_order),
        ("reclaimed", "reclaimed", account.reclaimed),
        ("leaked", "leaked", account.leaked),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drains::{Deadline, Returned};

    fn drain(path: Vec<Stay>, account: &Account) -> DrainRecord {
        let long = "x".repeat(500);
        let failed = Returned { ok: false, error: Some(long.clone()) };
        let met = |stay: &Stay| Deadline { state: stay.state.clone(), waited_for: "it".to_owned() };
        DrainRecord {
            host_nqn: long.clone(),
            subsystem_nqn: long,
            deadlines: path.iter().map(met).collect(),
            path,
            send: account.clone(),
            receive: account.clone(),
            move_to_error: Some(failed.clone()),
            destroy: Some(failed),
            destroy_us: Some(u64::MAX),
            kicks: u32::MAX,
            ..DrainRecord::default()
        }
    }

    fn stay(state: &str, entered_us: i64, lasted_us: u64) -> Stay {
        Stay { state: state.to_owned(), entered_us, lasted_us }
    }

    /// The boxes of all bars, lines, dots and corners; texts are only as wide as fonts are.
    fn boxes(svg: &str) -> Vec<[f64; 4]> {
        let drawing = roxmltree::Document::parse(svg).unwrap();
        let all = drawing.descendants().filter(roxmltree::Node::is_element);
        let of = |node: roxmltree::Node<'_, '_>| {
            let number = |name: &str| node.attribute(name).map_or(0.0, |n| n.parse().unwrap());
            match node.tag_name().name() {
                "rect" => vec![[number("x"), number("y"), number("width"), number("height")]],
                "line" => vec![
                    [number("x1"), number("y1"), 0.0, 0.0],
                    [number("x2"), number("y2"), 0.0, 0.0],
                ],
                "circle" => vec![[number("cx"), number("cy"), number("r"), number("r")]],
                "text" => vec![[number("x"), number("y"), 0.0, 0.0]],
                "polygon" => {
                    let points = node.attribute("points").unwrap().split(' ');
                    let point = |point: &str| {
                        let (x, y) = point.split_once(',').unwrap();
                        [x.parse().unwrap(), y.parse().unwrap(), 0.0, 0.0]
                    };
                    points.map(point).collect()
                }
                _ => Vec::new(),
            }
        };
        all.flat_map(of).collect()
    }

    #[test]
    fn nothing_lies_outside_of_the_paper_whatever_a_daemon_says() {
        let huge = Account { posted: 1, completed: u64::MAX / 2, ..Account::default() };
        let many = |n: usize| (0..n).map(|_| stay("flushing", 0, u64::MAX)).collect();
        for path in [
            Vec::new(),
            vec![stay("dead", 0, 0)],
            vec![stay("live", i64::MIN, u64::MAX), stay("no such state", i64::MAX, u64::MAX)],
            vec![stay("erroring", 0, 0), stay("destroying", 0, 1), stay("quarantined", 1, 0)],
            many(9),
            many(10_000),
        ] {
            let states = path.len();
            let svg = draw(&drain(path, &huge));
            let drawing = roxmltree::Document::parse(&svg).unwrap();
            let size = |name| drawing.root_element().attribute(name).unwrap().parse().unwrap();
            let (width, height): (f64, f64) = (size("width"), size("height"));
            assert!(height < 4000.0, "{height} pixels for {states} states");
            for [x, y, w, h] in boxes(&svg) {
                let inside = x >= 0.0 && y >= 0.0 && x + w <= width && y + h <= height;
                assert!(inside && w >= 0.0 && h >= 0.0, "{x} {y} {w} {h} of {states} states");
            }
        }
    }

    #[test]
    fn the_line_of_an_account_is_full_when_it_adds_up() {
        let whole = Account {
            posted: 40,
            completed: 10,
            flushed: 20,
            retired_in_order: 6,
            reclaimed: 3,
            leaked: 1,
        };
        for (account, share) in [(whole.clone(), 1.0), (Account { flushed: 0, ..whole }, 0.5)] {
            let svg = draw(&drain(Vec::new(), &account));
            let drawing = roxmltree::Document::parse(&svg).unwrap();
            let classes = ["completed", "flushed", "in-order", "reclaimed", "leaked"];
            let is_part = |node: &roxmltree::Node<'_, '_>| {
                node.has_tag_name("rect") && classes.contains(&node.attribute("class").unwrap())
            };
            let parts = drawing.descendants().filter(is_part);
            let width = |node: roxmltree::Node<'_, '_>| -> f64 {
                node.attribute("width").unwrap().parse().unwrap()
            };
            // Both queues have the same account.
            let total: f64 = parts.map(width).sum::<f64>() / 2.0;
            assert!((total - 250.0 * share).abs() < 1.0, "{total}");
        }
    }

    #[test]
    fn the_middle_of_a_long_name_gives_way() {
        assert_eq!(short("nqn.short"), "nqn.short");
        let long = format!("begin{}end", "\u{fc}".repeat(300));
        let shown = short(&long);
        assert!(shown.starts_with("begin") && shown.ends_with("end"), "{shown}");
        assert!(shown.chars().count() <= NAME_MAX + 1, "{}", shown.chars().count());
    }
}
