// What a browser makes of the page in `frame`: see `measure` in photograph.py.
const page = frame.contentDocument;
const styled = e => frame.contentWindow.getComputedStyle(e);
const whole = [...page.querySelectorAll('body *')];
const wide = whole.filter(e => !e.closest('.scroll, svg, pre') &&
  e.getBoundingClientRect().right > page.documentElement.clientWidth + 1).map(e => e.tagName + '.' + e.className);
const cut_captions = [...page.querySelectorAll('.scroll caption')].filter(e => {
  const text = page.createRange();
  text.selectNodeContents(e);
  return text.getBoundingClientRect().right > e.closest('.scroll').getBoundingClientRect().right + 1;
}).map(e => e.textContent.slice(0, 40));
const broken = [...page.querySelectorAll('table.rows tbody tr')].filter(row =>
  styled(row).display === 'grid' && new Set([...row.cells].map(e => Math.round(e.getBoundingClientRect().top))).size > 2);
const cut = [...page.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1);

// WCAG 2.2: the contrast of each text with all that is behind it
const channels = colour => (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
const over = (colour, below) => {
  const [r, g, b, a = 1] = channels(colour);
  return [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
};
const luminance = colour => {
  const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = e => e ? over(styled(e).backgroundColor, behind(e.parentElement)) : [255, 255, 255];
const contrast = e => {
  const below = behind(e), ink = over(e.closest('svg') ? styled(e).fill : styled(e).color, below);
  const [dark, light] = [luminance(ink), luminance(below)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const texts = whole.filter(e => !e.closest('title') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
const contrasts = texts.map(e => [contrast(e), e.tagName, e.textContent.slice(0, 40)]).sort((a, b) => a[0] - b[0]);

// the first line between fp32 and int8, moved over all its places as the arrow keys do
const places = [...page.querySelectorAll('.wipe div:first-of-type input')].slice(0, 11);
const lines = places.map(place => {
  place.click();
  return styled(place.parentElement.querySelector('img:nth-of-type(2)')).clipPath;
});
const style = styled(page.body);
return {
  height: page.documentElement.scrollHeight, width: page.documentElement.scrollWidth, sticking_out: wide,
  scrolling: cut.map(e => e.textContent.slice(0, 40)), cut_captions: cut_captions,
  broken: broken.map(e => e.textContent.slice(0, 40)), texts: texts.length, contrasts: contrasts.slice(0, 5),
  lines: lines, focusable: places.filter(place => { place.focus(); return page.activeElement === place; }).length,
  background: style.backgroundColor, ink: style.color, title: page.title,
  blank_images: [...page.images].filter(i => !i.naturalWidth).length,
  images: page.images.length, figures: page.querySelectorAll('svg').length,
};
