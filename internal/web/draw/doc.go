// Package draw lays out the pictures of the pages: it turns values into boxes, lines and labels, and knows neither
// the database nor HTML. The templates of package web write what it returns as SVG, so that every text goes through
// their escaping.
//
// Pictures over time have their x in percent of the width and their y in pixels: they fit a telephone and a
// wide screen without text that is scaled. The graph is in pixels, and scrolls.
package draw
