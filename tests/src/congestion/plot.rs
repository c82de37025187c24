//! A run as an SVG picture: congestion windows, queueing delay and goodput over time.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Run;

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a run.
///
/// # Errors
/// If the file cannot be written.
pub fn draw(run: &Run, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(&run.scenario.name, ("sans-serif", 15))?;
    let panels = root.split_evenly((3, 1));
    let flows = run.scenario.flows.len();
    let name = |flow: usize| run.scenario.flows[flow].kind.name();
    let lines = |value: &dyn Fn(usize, usize) -> f64| -> Vec<(String, Vec<(f64, f64)>)> {
        (0..flows).map(|flow| (name(flow).to_owned(), points(run, |sample| value(sample, flow)))).collect()
    };
    let cwnd = lines(&|i, flow| run.samples[i].cwnd[flow] as f64 / 1024.0);
    panel(&panels[0], "window, KiB", &cwnd)?;
    let queueing = points(run, |i| run.samples[i].link.waits.mean().as_secs_f64() * 1e3);
    panel(&panels[1], "queueing, ms", &[("bottleneck".to_owned(), queueing)])?;
    let rate = lines(&|i, flow| run.samples[i].goodput[flow] / 1e6);
    panel(&panels[2], "goodput, Mbit/s", &rate)?;
    root.present()?;
    Ok(())
}

/// A name for the file of a run.
#[must_use]
pub fn file_name(run: &Run) -> String {
    let name = run.scenario.name.to_lowercase().replace("++", "-pp").replace("mbit/s", "mbit");
    let mut out = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' | '.' => out.push(c),
            _ if out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    format!("{}.svg", out.trim_end_matches('-'))
}

/// So few points that the picture stays small: each the mean of those that it stands for.
fn points(run: &Run, value: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
    let n = run.samples.len();
    let step = n.div_ceil(POINTS).max(1);
    (0..n)
        .step_by(step)
        .map(|i| {
            let end = (i + step).min(n);
            let mean = (i..end).map(&value).sum::<f64>() / (end - i) as f64;
            let at = run.samples[end - 1].at.as_secs_f64();
            ((at * 100.0).round() / 100.0, mean)
        })
        .collect()
}

fn panel(
    area: &Panel<'_>,
    what: &str,
    lines: &[(String, Vec<(f64, f64)>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let right = all().map(|p| p.0).fold(1.0, f64::max);
    let top = all().map(|p| p.1).fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .x_label_area_size(20)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart.configure_mesh().disable_mesh().x_labels(8).y_labels(4).y_desc(what).draw()?;
    for (i, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(1)))?;
        if lines.len() > 1 && (i == 0 || *name != lines[i - 1].0) {
            line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour));
        }
    }
    if lines.len() > 1 {
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
    }
    Ok(())
}

const SIZE: (u32, u32) = (720, 540);

/// Per line.
const POINTS: usize = 240;
