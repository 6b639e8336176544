//! Draws the curves.

use std::io;
use std::path::Path;

use plotters::prelude::*;

use crate::curves::Curve;

const CHART: (u32, u32) = (420, 300);
const COLUMNS: usize = 3;
const COLOURS: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44)];

/// Writes `benches/curves.svg` and `benches/curves.json`.
pub(crate) fn write(curves: &[Curve]) -> io::Result<()> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    std::fs::write(benches.join("curves.json"), serde_json::to_string_pretty(curves)? + "\n")?;
    let mut svg = String::new();
    draw(curves, &mut svg).map_err(|error| io::Error::other(error.to_string()))?;
    std::fs::write(benches.join("curves.svg"), svg)
}

/// Prints the figures.
pub(crate) fn print(curves: &[Curve]) {
    for curve in curves {
        for line in &curve.lines {
            println!("{} by {}, {}, in microseconds: {:.1?}", curve.title, curve.of, line.name, line.points);
        }
    }
}

/// Both axes are logarithmic: what grows linearly is a line of slope one, as the grey ones, and what does not grow is flat.
fn draw(curves: &[Curve], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let rows = curves.len().div_ceil(COLUMNS);
    let size = (CHART.0 * COLUMNS as u32, CHART.1 * rows as u32);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (curve, cell) in curves.iter().zip(area.split_evenly((rows, COLUMNS))) {
        chart(curve, &cell)?;
    }
    area.present()?;
    Ok(())
}

fn chart(
    curve: &Curve,
    cell: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    let x = |of: fn(f64, f64) -> f64, from| points().map(|(x, _)| *x as f64).fold(from, of);
    let y = |of: fn(f64, f64) -> f64, from| points().map(|(_, y)| *y).fold(from, of);
    let (left, right) = (x(f64::min, f64::MAX), x(f64::max, 0.0));
    let (bottom, top) = (y(f64::min, f64::MAX) / 3.0, y(f64::max, 0.0) * 3.0);
    let title = format!("{}: \u{b5}s by {}", curve.title, curve.of);
    let mut chart = ChartBuilder::on(cell)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(55)
        .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
    let label = |value: &f64| if *value < 1e4 { format!("{value}") } else { format!("{value:.0e}") };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .draw()?;
    if let Some((x0, y0)) = curve.lines.first().and_then(|line| line.points.first()) {
        let linear = [(*x0 as f64, *y0), (right, y0 * right / *x0 as f64)];
        chart.draw_series(LineSeries::new(linear, RGBColor(200, 200, 200)))?;
    }
    for (line, colour) in curve.lines.iter().zip(COLOURS) {
        let points = || line.points.iter().map(|(x, y)| (*x as f64, *y));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], colour));
        chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    Ok(())
}
