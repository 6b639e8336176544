if record then write(true) end
for i = 1, n do
  began[i] = began[i] and text(began[i]) or ''
end
return { now_text, '', '', '', began, leave, come }
